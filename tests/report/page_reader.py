"""What stands on a page of a report or a comparison."""

from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """Text, images, links and sortable tables of a page; complains about tags that do not pair up."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.raw = page
        self.open: list[str] = []
        self.texts: list[str] = []
        self.sources: list[str] = []
        self.alts: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.n_scripts = 0
        self.tables: list[dict[str, list[Any]]] = []  # sortable ones: heads and rows of attributes
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.n_scripts += tag == "script"
        if tag == "img":
            self.alts.append(told["alt"])
            self.sources.append(told["src"])
        if "href" in told:
            self.links.append(told["href"])
        if "id" in told:
            self.anchors.add(told["id"])
        if tag == "table" and told.get("class") == "sortable":
            self.tables.append({"heads": [], "rows": []})
        if self.tables and tag == "tr":
            self.tables[-1]["rows"].append([])
        if self.tables and tag == "th" and "data-kind" in told:
            self.tables[-1]["heads"].append(told)
        if self.tables and tag == "td" and "data-value" in told:
            self.tables[-1]["rows"][-1].append(told["data-value"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())
