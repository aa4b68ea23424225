"""One wide picture of what the pipeline does with a volume."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from pipeline_lib.artefacts import replacing
from pipeline_lib.errors import UserError
from pipeline_lib.report.colours import id_colours
from pipeline_lib.report.contents import ReportContents, VolumeResult, read_results
from pipeline_lib.report.sections import Section, central_cuts, overlay, read_sections, section_palette
from pipeline_lib.report.units import bar_length, round_length_nm
from pipeline_lib.skeletons import Skeletons, load_skeletons

_SECTION_VOX = 512
_REACH = 0.15  # part of the volume's depth, on both sides of the section, whose skeletons are drawn
_SHADE = {"facecolor": "black", "alpha": 0.5, "edgecolor": "none", "pad": 1.5}  # behind text


def render_overview(contents: ReportContents, output_png: Path) -> None:
    """Image, affinities, segmentation and skeletons of the middle section of the first test volume, else val, as one PNG.

    A volume without skeletons gives three pictures. No segmented volume is a UserError.
    """
    results = read_results(contents)
    if not results:
        raise UserError(f"{contents.project} has no test or val volume to show")
    result = results[0]
    cut = central_cuts(result.volume.shape_vox, result.volume.voxel_size_nm, max_vox=_SECTION_VOX)[0]
    shown = read_sections(result, [cut])[0]
    colours = section_palette([shown])
    pictures = [
        ("image", np.repeat(shown.image[..., None], 3, axis=-1)),
        ("affinities (z, y, x)", np.moveaxis(shown.affinities, 0, -1)),
        ("segmentation", overlay(shown.image, shown.segments, colours, strength=0.65)),
    ]
    skeletons = result.volume.skeletons_file
    if skeletons is not None:
        pictures.append(("skeletons", overlay(shown.image, shown.segments, colours, strength=0.3)))
    down_nm, right_nm = cut.extent_nm
    figure = Figure(figsize=(3.2 * len(pictures), 3.2 * down_nm / right_nm + 0.3), dpi=150, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.02, wspace=0, hspace=0)  # type: ignore[union-attr,call-arg]
    all_axes = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axes, (name, picture) in zip(all_axes, pictures, strict=True):
        axes.imshow(picture, extent=(0, right_nm, down_nm, 0), interpolation="nearest")
        axes.set_title(name, fontsize=10)
        axes.set_axis_off()
    if skeletons is not None:
        _draw_skeletons(all_axes[-1], load_skeletons(skeletons), shown, result)
    _draw_scale_bar(all_axes[0], shown)
    data = io.BytesIO()
    figure.savefig(data, format="png", bbox_inches="tight", pad_inches=0.03)
    with replacing(output_png) as aside:
        aside.write_bytes(data.getvalue())


def _draw_skeletons(axes: Axes, skeletons: Skeletons, shown: Section, result: VolumeResult) -> None:
    """Edges near the section, projected on it, in the colours of their skeletons' ids, with a light rim."""
    positions, edges = skeletons.node_positions_nm, skeletons.edges
    depth_nm = result.volume.shape_vox[0] * result.volume.voxel_size_nm[0]
    near = np.abs(positions[:, 0] - shown.cut.position_nm) <= _REACH * depth_nm
    edges = edges[near[edges].all(axis=1) & (skeletons.node_skeleton_ids[edges[:, 0]] != 0)]
    start_nm = np.array(shown.cut.start_vox[1:]) * result.volume.voxel_size_nm[1:]
    lines = (positions[edges][..., 1:] - start_nm)[..., ::-1]
    colours = id_colours(skeletons.node_skeleton_ids[edges[:, 0]])
    axes.add_collection(LineCollection(list(lines), colors="white", linewidths=2.6, capstyle="round"), autolim=False)
    axes.add_collection(LineCollection(list(lines), colors=list(colours), linewidths=1.5, capstyle="round"), autolim=False)


def _draw_scale_bar(axes: Axes, shown: Section) -> None:
    down_nm, right_nm = shown.cut.extent_nm
    bar_nm = round_length_nm(0.35 * right_nm)
    left, low = 0.04 * right_nm, down_nm - 0.05 * right_nm
    axes.plot([left, left + bar_nm], [low, low], color="white", linewidth=3, solid_capstyle="butt")
    axes.text(left, low - 0.03 * right_nm, bar_length(bar_nm), color="white", fontsize=9, va="bottom", bbox=_SHADE)
