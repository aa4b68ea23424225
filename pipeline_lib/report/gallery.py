"""Sections of the segmented volumes, and the places of their worst errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline_lib.report.colours import Palette, distinct_palette
from pipeline_lib.report.contents import VolumeResult
from pipeline_lib.report.html import Html, caption, details, element, escaped, joined, picture, section, table
from pipeline_lib.report.scores import split_tag
from pipeline_lib.report.sections import AXES, Cut, Section, central_cuts, cut_at, overlay, read_sections, section_palette
from pipeline_lib.report.units import TIMES, decimal, length
from pipeline_lib.volumes import open_array

_SECTION_VOX = 384
_PLACE_VOX = 96
_MOST_VOLUMES = 6
_MOST_PLACES = 6
_ROWS_SHOWN_OPEN = 10
_MOST_IDS = 5
_SECTIONS_NOTE = """Affinities: red, green and blue are those along z, y and x; white is joined, dark a border. A segment has
the colour of the true neuron that it overlaps most in these sections; a paler or darker shade of that colour is a further
piece of the same neuron, a split; one colour across two true neurons is a merger. Without true labels a colour follows from
the id alone. The contrast of images is stretched between the 0.5th and the 99.5th percentile."""
_ERRORS_NOTE = """Loss: by how much the expected run length would grow if this error alone were repaired. Positions are those
of a skeleton node or edge at the error, from the corner of the volume; voxels count from 0. A ring marks the position, in the
plane that shows the error best; coloured are only the segments of the error, then the true labels that they cover."""


def sections_section(results: Sequence[VolumeResult]) -> Html:
    """Three cuts of each volume side by side."""
    parts: list[object] = [_volume_sections(result) for result in results[:_MOST_VOLUMES]]
    if len(results) > _MOST_VOLUMES:
        parts.append(caption(f"{len(results) - _MOST_VOLUMES} more volumes are not shown."))
    return section("sections", "Sections", caption(_SECTIONS_NOTE), *parts)


def errors_section(results: Sequence[VolumeResult]) -> Html:
    """The worst splits and mergers of each scored volume, the first ones with pictures."""
    parts = [_volume_errors(result) for result in results if result.skeleton_scores]
    if not parts:
        parts = [element("p", "No volume is scored against skeletons.")]
    return section("errors", "Worst splits and mergers", caption(_ERRORS_NOTE), *parts)


def _volume_sections(result: VolumeResult) -> Html:
    cuts = central_cuts(result.volume.shape_vox, result.volume.voxel_size_nm, max_vox=_SECTION_VOX)
    sections = read_sections(result, cuts)
    palette = section_palette(sections)
    size = TIMES.join(decimal(n, 0) for n in result.volume.shape_vox)
    voxel = TIMES.join(f"{s:g}" for s in result.volume.voxel_size_nm)
    told = caption(f"{size} voxels of {voxel} nm (z, y, x).", "" if result.metrics else " No truth: not scored.")
    strips = [joined([_cut_title(s.cut), _strip(result, s, palette, again=s is not sections[0])]) for s in sections]
    return joined([element("h3", result.name, " ", split_tag(result)), told, *strips])


def _cut_title(cut: Cut) -> Html:
    down, right = (AXES[axis] for axis in range(3) if axis != cut.axis)
    place = f"{AXES[cut.axis]} = {cut.index_vox} ({length(cut.position_nm)})"
    return caption(f"{cut.name} at {place}; {right} to the right, {down} down")


def _strip(result: VolumeResult, shown: Section, palette: Palette, *, again: bool) -> Html:
    pictures = [
        ("image", shown.image),
        ("affinities", np.moveaxis(shown.affinities, 0, -1)),
        ("segmentation", overlay(shown.image, shown.segments, palette)),
    ]
    if shown.truth is not None:
        pictures.append(("true labels", overlay(shown.image, shown.truth)))
    where = f"of {result.name}, {shown.cut.name} section"
    titled = [(name, picture(p, extent_nm=shown.cut.extent_nm, alt=f"{name} {where}")) for name, p in pictures]
    return _side_by_side(titled, again=again)


def _side_by_side(titled: Sequence[tuple[str, Html]], *, again: bool = False) -> Html:
    """again: the titles stand above the same columns already."""
    cells = [element("div", element("div", title, class_="title"), content) for title, content in titled]
    return element("div", *cells, class_="strip again" if again else "strip", style=f"--n:{len(cells)}")


def _volume_errors(result: VolumeResult) -> Html:
    title = element("h3", result.name, " ", split_tag(result))
    if not result.errors:
        return joined([title, element("p", "No split and no merger.")])
    costly = [i for i, error in enumerate(result.errors) if float(error["loss_nm"]) > 0]  # rounded to 0.1 nm in the table
    places = element("div", *(_place(result, i) for i in costly[:_MOST_PLACES]), class_="places")
    header = ("", "kind", "loss", "z, y, x (nm)", "z, y, x (voxels)", "segments", "skeletons")
    rows = [_error_row(number, error) for number, error in enumerate(result.errors, 1)]
    parts = [title, places, table(header, rows[:_ROWS_SHOWN_OPEN], text=(1, 5, 6))]
    if rows[_ROWS_SHOWN_OPEN:]:
        parts.append(details(f"{len(rows) - _ROWS_SHOWN_OPEN} more", table(header, rows[_ROWS_SHOWN_OPEN:], text=(1, 5, 6))))
    return joined(parts)


def _error_row(number: int, error: dict[str, str]) -> list[object]:
    position_nm = ", ".join(f"{float(error[f'{axis}_nm']):.0f}" for axis in AXES)
    return [
        number,
        error["kind"],
        length(float(error["loss_nm"])),
        position_nm,
        ", ".join(error[f"{axis}_vox"] for axis in AXES),
        _few(error["segments"]),
        _few(error["skeletons"]),
    ]


def _few(ids: str) -> str:
    found = ids.split()
    more = f" and {len(found) - _MOST_IDS} more" if len(found) > _MOST_IDS else ""
    return ", ".join(found[:_MOST_IDS]) + more


def _place(result: VolumeResult, index: int) -> Html:
    """The surroundings of one error, in the plane that shows most of its lesser part."""
    error = result.errors[index]
    centre = [int(error[f"{axis}_vox"]) for axis in AXES]
    segment_ids = np.array([int(i) for i in error["segments"].split()])
    cut = _telling_cut(result, centre, segment_ids)
    shown = read_sections(result, [cut])[0]
    wrong = np.where(np.isin(shown.segments, segment_ids), shown.segments, 0)
    look = {"extent_nm": shown.cut.extent_nm, "ring": shown.cut.share_of(centre)}
    pictures = [("image", shown.image), ("segments", overlay(shown.image, wrong, distinct_palette(segment_ids, hue=0.58)))]
    if shown.truth is not None:
        beneath = np.where(np.isin(shown.truth, shown.truth[wrong != 0]), shown.truth, 0)
        pictures.append(("true labels", overlay(shown.image, beneath, distinct_palette(beneath[beneath != 0], hue=0.1))))
    name = f"{error['kind']} {index + 1} of {result.name}"
    panels = _side_by_side([(title, picture(p, alt=f"{title}, {name}", **look)) for title, p in pictures])
    over = f"segment{'s' if len(segment_ids) > 1 else ''} {_few(error['segments'])} on skeleton {_few(error['skeletons'])}"
    what = [element("b", f"{index + 1}. {error['kind'].capitalize()}, {length(float(error['loss_nm']))}"), f": {over}"]
    plane = f" ({shown.cut.name})"
    return element("div", element("p", *what, escaped(plane), class_="what"), panels, class_="place")


def _telling_cut(result: VolumeResult, centre: Sequence[int], segment_ids: np.ndarray) -> Cut:
    """The cut within two voxels of the error that shows most of its lesser part."""
    volume = result.volume
    cuts = [cut_at(axis, centre, volume.shape_vox, volume.voxel_size_nm, max_vox=_PLACE_VOX) for axis in range(3)]
    box = tuple(slice(a, b) for a, b in zip(cuts[0].start_vox, cuts[0].stop_vox, strict=True))
    stored = volume.labels()
    segments = np.asarray(open_array(result.segmentation)[box])
    truth = np.asarray(stored[box]) if stored is not None else None
    best, most = cuts[0], -1
    for cut in cuts:
        for shift in (0, -1, 1, -2, 2):
            plane = cut.index_vox + shift - cut.start_vox[cut.axis]
            if 0 <= plane < segments.shape[cut.axis]:
                beneath = truth.take(plane, cut.axis) if truth is not None else None
                found = _evidence(segments.take(plane, cut.axis), beneath, segment_ids)
                if found > most:
                    best, most = replace(cut, index_vox=cut.index_vox + shift), found
    return best


def _evidence(segments: np.ndarray, truth: np.ndarray | None, segment_ids: np.ndarray) -> int:
    """How well a section shows an error: pixels of the lesser segment of a split, or of the second true label of a merger."""
    if len(segment_ids) > 1:
        return min(int(np.count_nonzero(segments == i)) for i in segment_ids)
    if truth is None:
        return int(np.count_nonzero(segments == segment_ids[0]))
    counts = np.sort(np.unique(truth[(segments == segment_ids[0]) & (truth != 0)], return_counts=True)[1])
    return int(counts[-2]) if len(counts) > 1 else 0
