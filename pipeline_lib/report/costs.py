"""What each stage of a run cost and where it ran, from the records that the stages left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.artefacts import records_of
from pipeline_lib.report.contents import ReportContents
from pipeline_lib.report.html import Html, caption, element, facts, section, table
from pipeline_lib.report.units import duration, memory

_BAR_PX = 140
NOT_RECORDED = "not recorded"
_NOTE = """Measured by each stage itself in its last run: one that went on after an interruption counts from there. Where
several jobs shared a stage, their wall times are summed. Peak memory is that of the largest single process."""


@dataclass(frozen=True)
class StageCost:
    """A stage and what it worked on; record: the content of record.json, None where there is none.

    Of jobs that shared the blocks: the sum of their wall times, the largest of their processes, and how many they were.
    """

    stage: str
    subject: str
    record: dict[str, Any] | None
    n_jobs: int = 1

    @classmethod
    def read(cls, stage: str, subject: str, folder: Path) -> StageCost:
        records = records_of(folder)
        if not records:
            return cls(stage, subject, None)
        total = {
            **records[0],
            "started": min(record["started"] for record in records),
            "wall_s": sum(record["wall_s"] for record in records),
            "peak_memory_mb": max(record["peak_memory_mb"] for record in records),
        }
        return cls(stage, subject, total, max(1, len(records) - 2))


def read_costs(contents: ReportContents) -> list[StageCost]:
    """All stages of the run in the order of the data's way."""
    found: list[tuple[str, str, Path]] = [("import", part.name, part.folder) for part in contents.volumes]
    found += [("train", f"to step {step}", contents.model / "segments" / step) for step in contents.segments]
    parts = [part for part in contents.volumes if part.split in ("val", "test")]
    for stage, folder, splits in (
        ("predict", contents.prediction, ("val", "test")),
        ("sweep", contents.sweep, ("val",)),
        ("label", contents.segmentation, ("val", "test")),
        ("segment", contents.segmentation, ("val", "test")),
        ("evaluate", contents.evaluation, ("val", "test")),
    ):
        below = "components" if stage == "label" else ""
        if folder is not None:
            found += [(stage, part.name, folder / part.folder.name / below) for part in parts if part.split in splits]
    made = [entry for entry in found if entry[0] not in ("label", "evaluate") or entry[2].exists()]
    return [StageCost.read(*entry) for entry in made]


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
        cost.stage if cost.n_jobs == 1 else f"{cost.stage}, {cost.n_jobs} jobs",
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
