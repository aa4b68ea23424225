"""The worst errors of each scored volume: a table of their places, and pictures of the first ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline_lib.report.colours import Palette, distinct_palette
from pipeline_lib.report.contents import VolumeResult
from pipeline_lib.report.html import Html, caption, details, element, joined, picture, section, table
from pipeline_lib.report.scores import split_tag
from pipeline_lib.report.sections import AXES, Cut, cut_at, overlay, stretched
from pipeline_lib.report.units import length
from pipeline_lib.volumes import open_array

_PLACE_VOX = 96
_MOST_PLACES = 6  # of one volume
_MOST_PLACES_IN_ALL = 24  # at about 100 kB each
_ROWS_SHOWN_OPEN = 10
_MOST_IDS = 5
_NOTE = """Split: segments next to each other along a skeleton, or with background between them. Gap: background inside or at
the end of one segment. Run length lost: by how much the expected run length of the volume would grow if this error alone were
repaired. Positions are those of a skeleton node or edge at the error, from the corner of the volume; voxels count from 0.
Pictures: three cuts through the ringed position, x to the right in xy and xz, y to the right in yz; coloured are only the
segments of the error, then the true labels at the ring and beneath these segments. All errors stand in errors.csv of the
evaluation."""


def errors_section(results: Sequence[VolumeResult]) -> Html:
    """The worst splits, gaps and mergers of each scored volume, the first ones with pictures."""
    scored = [result for result in results if result.skeleton_scores]
    most_places = min(_MOST_PLACES, max(1, _MOST_PLACES_IN_ALL // max(1, len(scored))))
    parts = [_volume_errors(result, most_places) for result in scored]
    if not parts:
        parts = [element("p", "No volume is scored against skeletons.")]
    return section("errors", "Worst splits, gaps and mergers", caption(_NOTE), *parts)


def _volume_errors(result: VolumeResult, most_places: int) -> Html:
    title = element("h3", result.name, " ", split_tag(result))
    if not result.errors:
        return joined([title, element("p", "No split, no gap and no merger.")])
    costly = [i for i, error in enumerate(result.errors) if float(error["loss_nm"]) > 0]  # rounded to 0.1 nm in the table
    places = element("div", *(_place(result, i) for i in costly[:most_places]), class_="places")
    header = ("", "kind", "run length lost", "z, y, x (nm)", "z, y, x (voxels)", "segments", "skeletons")
    rows = [_error_row(number, error) for number, error in enumerate(result.errors, 1)]
    parts = [title, table(header, rows[:_ROWS_SHOWN_OPEN], text=(1, 5, 6))]
    if rows[_ROWS_SHOWN_OPEN:]:
        parts.append(details(f"{len(rows) - _ROWS_SHOWN_OPEN} more", table(header, rows[_ROWS_SHOWN_OPEN:], text=(1, 5, 6))))
    return joined([*parts, places])


def _error_row(number: int, error: dict[str, str]) -> list[object]:
    return [
        number,
        error["kind"],
        length(float(error["loss_nm"])),
        ", ".join(f"{float(error[f'{axis}_nm']):.0f}" for axis in AXES),
        ", ".join(error[f"{axis}_vox"] for axis in AXES),
        _few(error["segments"]),
        _few(error["skeletons"]),
    ]


def _few(ids: str) -> str:
    found = ids.split()
    more = f" and {len(found) - _MOST_IDS} more" if len(found) > _MOST_IDS else ""
    return ", ".join(found[:_MOST_IDS]) + more


def _place(result: VolumeResult, index: int) -> Html:
    """Three cuts through one error, a row of pictures each."""
    error, volume = result.errors[index], result.volume
    centre = [int(error[f"{axis}_vox"]) for axis in AXES]
    cuts = [cut_at(axis, centre, volume.shape_vox, volume.voxel_size_nm, max_vox=_PLACE_VOX) for axis in range(3)]
    columns = _panels(result, cuts, centre, np.array([int(i) for i in error["segments"].split()], np.int64))
    name = f"{error['kind']} {index + 1} of {result.name}"
    cells = [element("div"), *(element("div", title, class_="title") for title in columns)]
    for row, cut in enumerate(cuts):
        cells.append(element("div", cut.name, class_="title"))
        for title, pictures in columns.items():
            shown = picture(
                pictures[row],
                extent_nm=cut.extent_nm,
                alt=f"{title}, {cut.name} cut, {name}",
                ring=cut.share_of(centre),
                scale_bar=title == "image",
            )
            cells.append(shown)
    told = element("b", f"{index + 1}. {error['kind'].capitalize()}, {length(float(error['loss_nm']))}")
    named = f"segment{'s' if ' ' in error['segments'] else ''} {_few(error['segments'])}" if error["segments"] else "no segment"
    over = f": {named} on skeleton {_few(error['skeletons'])}"
    grid = element("div", *cells, class_="cuts", style=f"--n:{len(columns)}")
    return element("div", element("p", told, over, class_="what"), grid, class_="place")


def _panels(
    result: VolumeResult, cuts: Sequence[Cut], centre_vox: Sequence[int], segment_ids: np.ndarray
) -> dict[str, list[np.ndarray]]:
    """Title -> one picture of each cut: the image, the segments of an error, the true labels there if there are any."""
    image, stored = result.volume.image(), result.volume.labels()
    greys = [stretched(cut.read(image)) for cut in cuts]
    segments = [_only(cut.read(open_array(result.segmentation)), segment_ids) for cut in cuts]
    panels = {"image": greys, "segments": _overlays(greys, segments, distinct_palette(segment_ids, hue=0.58))}
    if stored is not None:
        truths = [cut.read(stored) for cut in cuts]
        at_centre = np.asarray(stored[tuple(slice(i, i + 1) for i in centre_vox)]).ravel()
        beneath_segments = (truth[wrong != 0] for truth, wrong in zip(truths, segments, strict=True))
        covered = np.concatenate([at_centre, *beneath_segments])
        beneath = [_only(truth, covered) for truth in truths]
        panels["true labels"] = _overlays(greys, beneath, distinct_palette(covered[covered != 0], hue=0.1))
    return panels


def _only(labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The labels, with 0 for all others than `ids`."""
    return np.where(np.isin(labels, ids), labels, 0)


def _overlays(greys: Sequence[np.ndarray], labels: Sequence[np.ndarray], palette: Palette) -> list[np.ndarray]:
    return [overlay(grey, shown, palette) for grey, shown in zip(greys, labels, strict=True)]
