import json
import shutil
import subprocess

import pytest

from pipeline_lib.report.compared.sortable import SCRIPT, Cell, Column, sortable

# As much of a page as the script touches: one table of two columns, whose heads can be clicked.
PAGE = """
const head = (kind, first) => {
  const told = {}, one = {dataset: {kind, first}, getAttribute: name => told[name] ?? null,
    setAttribute: (name, value) => { told[name] = value; }, removeAttribute: name => { delete told[name]; }};
  one.querySelector = () => ({addEventListener: (_, clicked) => { one.click = clicked; }});
  return one;
};
const heads = [head("text", "ascending"), head("number", "descending")];
const row = (a, b) => ({cells: [{dataset: {value: a}}, {dataset: {value: b}}]});
const body = {rows: [row("x10", "2"), row("x9", ""), row("", "-1"), row("x1", "10"), row("x2", "9e-1")],
  append(...rows) { this.rows = rows; }};
globalThis.document = {querySelectorAll: () => [{tHead: {rows: [{cells: heads}]}, tBodies: [body]}]};
"""
CLICKS = """
const found = [];
for (const column of [0, 0, 1, 1, 0]) {
  heads[column].click();
  const sorted = heads.map(one => one.getAttribute("aria-sort"));
  found.push([body.rows.map(one => one.cells[column].dataset.value), sorted]);
}
console.log(JSON.stringify(found));
"""


def test_a_click_sorts_and_a_second_one_turns_the_order() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed, which runs the script of the page")
    out = subprocess.run([node, "-e", f"{PAGE}{SCRIPT}{CLICKS}"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert json.loads(out) == [
        [["x1", "x2", "x9", "x10", ""], ["ascending", None]],
        [["x10", "x9", "x2", "x1", ""], ["descending", None]],
        [["10", "2", "9e-1", "-1", ""], [None, "descending"]],
        [["-1", "9e-1", "2", "10", ""], [None, "ascending"]],
        [["x1", "x2", "x9", "x10", ""], ["ascending", None]],
    ]


def test_cells_carry_what_they_are_sorted_by() -> None:
    columns = [Column("name", text=True), Column("NERL", above="val", more_first=True), Column("VOI")]
    rows = [
        [Cell("<a>", "<a>"), Cell("0.123", 0.1234567891234), Cell("\u2013", None)],
        [Cell("b", "b"), Cell("1", 1), Cell("2", 2.0)],
    ]
    found = sortable(columns, rows, best=1, order=1)
    assert '<td class="text" data-value="&lt;a&gt;">&lt;a&gt;</td>' in found
    assert '<td class="number" data-value="0.1234567891">0.123</td><td class="number" data-value="">\u2013</td>' in found
    assert '<tr class="best"><td class="text" data-value="b">' in found
    heads = 'data-kind="text" data-first="ascending"', 'data-kind="number" data-first="descending" aria-sort="descending"'
    assert all(head in found for head in heads)
    assert '<button type="button"><small>val</small>NERL</button>' in found
    assert found.count("aria-sort") == 1
