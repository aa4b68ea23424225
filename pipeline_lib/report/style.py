"""How the page looks."""

ACCENT = "#2f6690"
WARM = "#c8553d"
SOFT = "#8d99a6"
GREEN = "#4f8a5b"
INK = "#1f2933"

STYLE = """
:root { --ink: #1f2933; --soft: #5f6c7b; --line: #dfe4ea; --wash: #f6f8fa; --accent: #2f6690; --warm: #c8553d; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 44px 0 12px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 22px 0 8px; }
p { margin: 8px 0; max-width: 105ch; }
.lead, .caption, figcaption { color: var(--soft); }
.caption, figcaption { font-size: 13px; line-height: 1.45; }
figcaption { margin-top: 4px; }
nav { margin: 14px 0 0; font-size: 13px; display: flex; flex-wrap: wrap; gap: 4px 16px; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
code, pre { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
code { overflow-wrap: anywhere; }
pre { background: var(--wash); padding: 14px 16px; overflow-x: auto; border-radius: 6px; margin: 8px 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px; margin: 10px 0 6px; }
.card { background: var(--wash); border-radius: 8px; padding: 12px 14px; }
.card .name { font-size: 13px; color: var(--soft); }
.card .value { font-size: 24px; line-height: 1.35; font-weight: 600; letter-spacing: -0.01em; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.card .value small { font-size: 15px; font-weight: 500; color: var(--soft); }
.card .note { font-size: 12.5px; line-height: 1.45; color: var(--soft); }
.warning { border-left: 4px solid var(--warm); background: #fdf3f0; padding: 8px 14px; border-radius: 0 6px 6px 0;
  max-width: none; }
.tag { display: inline-block; font-size: 12px; line-height: 1.3; padding: 1px 7px; border-radius: 9px; background: #e8eef4;
  color: var(--accent); white-space: nowrap; }
.scroll { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 8px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: baseline; }
th { font-weight: 600; font-size: 12.5px; color: var(--soft); vertical-align: bottom; }
td { white-space: nowrap; }
td small { display: block; font-size: 11.5px; color: var(--soft); font-weight: 400; }
th.number, td.number { text-align: right; }
table.facts th { vertical-align: baseline; white-space: nowrap; padding-left: 0; }
table.facts td { white-space: normal; overflow-wrap: anywhere; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); gap: 16px 28px;
  align-items: start; }
.columns.pairs { grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); }
figure { margin: 6px 0; }
figure.chart img { width: 100%; max-width: 470px; height: auto; display: block; }
.strip { display: grid; grid-template-columns: repeat(var(--n), minmax(0, 1fr)); gap: 8px; margin: 6px 0 2px; }
.strip .title { font-size: 12.5px; color: var(--soft); margin-bottom: 2px; }
.strip.again .title { display: none; }
.picture { position: relative; overflow: hidden; background: #000; border-radius: 3px; }
.picture img { display: block; width: 100%; height: auto; }
.picture::after { content: ""; position: absolute; inset: 0; border-radius: 3px; box-shadow: inset 0 0 0 1px rgba(0,0,0,.15); }
.pixelated { image-rendering: pixelated; }
.scalebar { position: absolute; left: 7px; bottom: 7px; height: 4px; background: #fff; box-shadow: 0 0 0 1px rgba(0,0,0,.55); }
.scalebar span { position: absolute; left: -1px; bottom: 7px; padding: 0 4px; font-size: 11px; line-height: 1.35; color: #fff;
  background: rgba(0,0,0,.5); border-radius: 2px; white-space: nowrap; }
.ring { position: absolute; width: 18px; height: 18px; margin: -9px 0 0 -9px; border: 2px solid #fff;
  border-radius: 50%; box-shadow: 0 0 3px #000, inset 0 0 3px #000; }
.places { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(480px, 100%), 1fr)); gap: 20px 24px;
  margin: 10px 0; }
.cuts { display: grid; grid-template-columns: 1.3em repeat(var(--n), minmax(0, 1fr)); gap: 4px; }
.cuts .title { font-size: 12.5px; color: var(--soft); line-height: 1.3; }
.place .what { font-size: 13px; margin: 0 0 4px; }
.place .what b { font-weight: 600; }
.bar { display: inline-block; height: 9px; border-radius: 2px; background: var(--accent); vertical-align: baseline; }
details { margin: 10px 0; }
summary { cursor: pointer; color: var(--accent); font-size: 14px; }
footer { margin-top: 48px; font-size: 12.5px; color: var(--soft); }
@media (max-width: 640px) {
  main { padding: 18px 14px 48px; }
  .strip { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .strip.again .title { display: block; }
}
@media print { nav { display: none; } section { break-inside: avoid-page; } details { display: block; } }
""".strip()
