"""Tables that a click on a column sorts; without the script they are as they were written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline_lib.report.html import Html, element, joined

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.tHead.rows[0].cells), body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const before = head.getAttribute("aria-sort");
    const order = before ? (before === "ascending" ? "descending" : "ascending") : head.dataset.first;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1, words = head.dataset.kind === "text";
    const value = row => row.cells[column].dataset.value;
    const rows = Array.from(body.rows).sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (words ? x.localeCompare(y, undefined, {numeric: true}) : x - y);
    });
    body.append(...rows);
  }));
}
""".strip()


@dataclass(frozen=True)
class Column:
    """above: a word over the title, such as the split. more_first: the first click puts the largest value on top."""

    title: str
    above: str = ""
    text: bool = False
    more_first: bool = False


@dataclass(frozen=True)
class Cell:
    """What is shown, and by what it is sorted; None stays at the end in either direction."""

    shown: object
    value: float | str | None


def sortable(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, best: int | None = None, order: int = -1) -> Html:
    """best: the row to be marked. order: the column by which the rows are sorted already."""
    head = element("tr", *(_head(column, index == order) for index, column in enumerate(columns)))
    body = []
    for index, row in enumerate(rows):
        cells = (_cell(cell, column) for cell, column in zip(row, columns, strict=True))
        body.append(element("tr", *cells, **({"class_": "best"} if index == best else {})))
    grid = element("table", element("thead", head), element("tbody", *body), class_="sortable")
    return element("div", grid, class_="scroll tall")


def _head(column: Column, sorted_by: bool) -> Html:
    title = joined([*([element("small", column.above)] if column.above else []), column.title], "")
    first = "descending" if column.more_first else "ascending"
    told = {"class_": "text" if column.text else "number", "scope": "col"}
    told |= {"data_kind": "text" if column.text else "number", "data_first": first}
    if sorted_by:
        told["aria_sort"] = first
    return element("th", element("button", title, type="button"), **told)


def _cell(cell: Cell, column: Column) -> Html:
    value = "" if cell.value is None else cell.value if isinstance(cell.value, str) else f"{cell.value:.10g}"
    return element("td", cell.shown, class_="text" if column.text else "number", data_value=value)
