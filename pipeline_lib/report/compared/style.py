"""How the page of a comparison looks, beside what all reports share."""

COMPARED_STYLE = """
.scroll.tall { max-height: min(85vh, 900px); overflow: auto; border-bottom: 1px solid var(--line); }
table.sortable { border-collapse: separate; border-spacing: 0; }
table.sortable thead th { position: sticky; top: 0; background: #fff; z-index: 2; white-space: nowrap; }
table.sortable th:first-child, table.sortable td:first-child { position: sticky; left: 0; background: #fff; z-index: 1; }
table.sortable thead th:first-child { z-index: 3; }
table.sortable td:first-child { border-right: 1px solid var(--line); }
table.sortable button { all: unset; cursor: pointer; }
table.sortable button:hover, table.sortable button:focus-visible { color: var(--accent); text-decoration: underline; }
table.sortable button small { display: block; font-size: 11px; font-weight: 400; }
th[aria-sort] { color: var(--ink); }
th[aria-sort="ascending"] button::after { content: " \\2191"; }
th[aria-sort="descending"] button::after { content: " \\2193"; }
tr.best td { background: #eef5ef; }
table.sortable tr.best td:first-child { background: #eef5ef; }
th small { display: block; font-size: 11px; font-weight: 400; }
.tests td, .tests th { padding-left: 6px; padding-right: 6px; }
.tests th { white-space: nowrap; }
td .name { white-space: normal; width: max-content; max-width: 360px; overflow-wrap: anywhere; }
.quiet { color: var(--soft); }
.winner { background: #eef5ef; border-left: 4px solid #4f8a5b; border-radius: 0 8px 8px 0; padding: 12px 16px; margin: 10px 0; }
.winner strong { display: block; font-size: 20px; line-height: 1.35; overflow-wrap: anywhere; }
.winner strong small { display: block; font-size: 13px; font-weight: 400; }
.verdict.worse { color: var(--warm); font-weight: 600; }
.verdict.better { color: #4f8a5b; font-weight: 600; }
.whisker { position: relative; display: inline-block; width: 110px; height: 14px; vertical-align: middle;
  background: linear-gradient(var(--soft), var(--soft)) center / 1px 100% no-repeat; }
.whisker i { position: absolute; top: 5px; height: 4px; border-radius: 2px; background: #b9c3cd; }
.whisker b { position: absolute; top: 3px; width: 8px; height: 8px; margin-left: -4px; border-radius: 50%;
  background: #8d99a6; }
.whisker.sure i { background: #9fbbd0; }
.whisker.sure b { background: var(--accent); }
.columns.small { grid-template-columns: repeat(auto-fit, minmax(min(250px, 100%), 1fr)); gap: 10px 16px; }
.legend { font-size: 13px; display: flex; flex-wrap: wrap; gap: 2px 16px; max-width: none; }
.legend span { white-space: nowrap; }
.legend i { display: inline-block; width: 18px; height: 4px; border-radius: 2px; vertical-align: middle; margin-right: 6px; }
@media (max-width: 640px) {
  .cards { grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
  td .name { max-width: 158px; }
}
""".strip()
