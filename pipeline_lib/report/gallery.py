"""Sections through the middle of each segmented volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline_lib.report.colours import Palette
from pipeline_lib.report.contents import VolumeResult
from pipeline_lib.report.html import Html, caption, element, joined, picture, section
from pipeline_lib.report.scores import split_tag
from pipeline_lib.report.sections import AXES, Cut, Section, central_cuts, overlay, read_sections, section_palette
from pipeline_lib.report.units import TIMES, decimal, length

_SECTION_VOX = 384
_MOST_VOLUMES = 6
_SECTIONS_NOTE = """Affinities: red, green and blue are those along z, y and x; white is joined, dark a border. A segment has
the colour of the true neuron that it overlaps most in these sections; a paler or darker shade of that colour is a further
piece of the same neuron, a split; one colour across two true neurons is a merger. Without true labels a colour follows from
the id alone. The contrast of images is stretched between the 0.5th and the 99.5th percentile."""


def sections_section(results: Sequence[VolumeResult]) -> Html:
    """Three cuts of each volume side by side."""
    parts: list[object] = [_volume_sections(result) for result in results[:_MOST_VOLUMES]]
    if len(results) > _MOST_VOLUMES:
        parts.append(caption(f"{len(results) - _MOST_VOLUMES} more volumes are not shown."))
    return section("sections", "Sections", caption(_SECTIONS_NOTE), *parts)


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
