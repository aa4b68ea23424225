"""The true objects that the segmentation serves worst."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_lib.report.contents import VolumeResult
from pipeline_lib.report.html import Html, caption, element, joined, table
from pipeline_lib.report.units import count, decimal

_MOST_OBJECTS = 10
_TITLES = {"size_vox": "voxels", "n_segments": "segments"}
_NOTE = """Least complete first. Purity: the part of the best segment that lies in the object; segments: how many the object is
spread over. All stand in objects.csv of the evaluation."""


def worst_objects(results: Sequence[VolumeResult]) -> list[Html]:
    """The first rows of objects.csv of each volume, side by side; nothing where there are none."""
    parts = [_volume_objects(result) for result in results if result.objects]
    if not parts:
        return []
    return [element("h3", "Worst objects"), element("div", *parts, class_="columns"), caption(_NOTE)]


def _volume_objects(result: VolumeResult) -> Html:
    columns = list(result.objects[0])
    rows = [[_cell(row[column]) for column in columns] for row in result.objects[:_MOST_OBJECTS]]
    left_out = len(result.objects) - len(rows)
    of_all = f", {len(rows)} of {count(len(result.objects))}" if left_out else ""
    header = [_TITLES.get(column, column.replace("_", " ")) for column in columns]
    return element("div", joined([caption(f"{result.name}{of_all}"), table(header, rows)]))


def _cell(value: str) -> str:
    """Whole numbers in groups of digits, others with three digits after the point, anything else as it is."""
    try:
        number = float(value)
    except ValueError:
        return value
    return decimal(number, 0 if value.lstrip("-").isdigit() else 3)
