"""What each stage of a run cost and where it ran, from the records that the stages left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.report.contents import ReportContents, read_if_present
from pipeline_lib.report.html import Html, caption, element, facts, section, table
from pipeline_lib.report.units import duration, memory

_BAR_PX = 140
NOT_RECORDED = "not recorded"
_NOTE = """Measured by each stage itself in its last run: one that went on after an interruption counts from there. Peak
memory is that of the largest single process."""


@dataclass(frozen=True)
class StageCost:
    """A stage and what it worked on; record: the content of record.json, None where there is none."""

    stage: str
    subject: str
    record: dict[str, Any] | None


def read_costs(contents: ReportContents) -> list[StageCost]:
    """All stages of the run in the order of the data's way."""
    found: list[tuple[str, str, Path]] = [("import", part.name, part.folder) for part in contents.volumes]
    found += [("train", f"to step {step}", contents.model / "segments" / step) for step in contents.segments]
    parts = [part for part in contents.volumes if part.split in ("val", "test")]
    for stage, folder, splits in (
        ("predict", contents.prediction, ("val", "test")),
        ("sweep", contents.sweep, ("val",)),
        ("segment", contents.segmentation, ("val", "test")),
        ("evaluate", contents.evaluation, ("val", "test")),
    ):
        if folder is not None:
            found += [(stage, part.name, folder / part.folder.name) for part in parts if part.split in splits]
    scored = [(stage, subject, folder) for stage, subject, folder in found if stage != "evaluate" or folder.exists()]
    return [StageCost(stage, subject, read_if_present(folder / "record.json")) for stage, subject, folder in scored]


def costs_section(contents: ReportContents) -> Html:
    costs = read_costs(contents)
    records = [cost.record for cost in costs if cost.record]
    longest = max((record["wall_s"] for record in records), default=0.0)
    largest = max((record["peak_memory_mb"] for record in records), default=0.0)
    rows = [_row(cost, longest, largest) for cost in costs]
    total = sum(record["wall_s"] for record in records)
    header = ("stage", "of", "wall time", "", "peak memory", "", "started (UTC)")
    return section(
        "costs",
        "Wall time and memory",
        table(header, rows, text=(0, 1, 2, 4, 6)),
        caption(f"Together {duration(total)}; the largest process held {memory(largest)}. ", _NOTE),
    )


def machines(contents: ReportContents) -> Html:
    """Hosts, processors and Python versions of all stages."""
    records = [cost.record for cost in read_costs(contents) if cost.record]
    columns = (("host", "host"), ("processor", "processor"), ("Python", "python"))
    return facts((name, "; ".join(sorted({record[key] for record in records})) or NOT_RECORDED) for name, key in columns)


def _row(cost: StageCost, longest: float, largest: float) -> list[object]:
    if cost.record is None:
        return [cost.stage, cost.subject, "", NOT_RECORDED, "", NOT_RECORDED, ""]
    wall_s, peak_mb, started = (cost.record[key] for key in ("wall_s", "peak_memory_mb", "started"))
    return [
        cost.stage,
        cost.subject,
        _bar(wall_s, longest, "var(--accent)"),
        duration(wall_s),
        _bar(peak_mb, largest, "var(--warm)"),
        memory(peak_mb),
        str(started)[:19].replace("T", " "),
    ]


def _bar(value: float, most: float, colour: str) -> Html:
    share = _BAR_PX * value / most if most > 0 else 0.0
    return element("span", class_="bar", style=f"width:{max(share, 1):.0f}px;background:{colour}")
