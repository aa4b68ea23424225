"""The forest of one block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline_lib.components.edges import check_affinities, level_of, to_levels
from pipeline_lib.components.falling import Falling, in_falling_order
from pipeline_lib.components.merge_tree import MergeTree, merge_basins
from pipeline_lib.components.regions.forest import RegionForest, Terminals
from pipeline_lib.components.regions.reduction import reduce_forest
from pipeline_lib.components.regions.shared import region_of, shared_voxels
from pipeline_lib.components.slabs import threads_for
from pipeline_lib.components.strongest import find_basins
from pipeline_lib.components.threshold_sweep import HIGHEST_LEVEL, points_inside
from pipeline_lib.geometry import Box, Triple

_POINT = 2  # marks a voxel; 1 marks one that is shared


def reduce_block(
    affinities: np.ndarray,
    box: Box,
    shape_vox: Sequence[int],
    *,
    lowest: float = 0.25,
    points_vox: np.ndarray | None = None,
    min_size_vox: int = 0,
    threads: int | None = None,
) -> RegionForest:
    """The segments of the edges that start in a box, reduced to what the rest of the volume and the points can reach.

    affinities: (3, z, y, x) uint8, float16 or float32 of the box, as for label_components; edges in the last plane of an axis
    lead to the voxels after the box, or out of the volume. shape_vox: of the volume. points_vox: (P, 3) integer voxels zyx of
    the volume, at least all those in the box; others change nothing in the end. lowest, threads: as for sweep_thresholds;
    min_size_vox: as for its sizes.
    Beyond the affinities, about 11 bytes are used for each voxel of the box, and 14 in noise.
    Raises UserError for points outside the volume; ValueError for a box that is not inside the volume or that the affinities do
    not fill, and as label_components does.
    """
    check_affinities(affinities)
    shape_vox = Box.of_shape(shape_vox).shape_vox
    region = region_of(box, shape_vox)
    if affinities.shape[1:] != box.shape_vox:
        raise ValueError(f"affinities of {affinities.shape[1:]} voxels do not fill {box}")
    lowest_level = min(level_of(lowest), HIGHEST_LEVEL)
    points = points_inside(np.empty((0, 3), np.int64) if points_vox is None else points_vox, shape_vox)
    basins, strongest, tree = _basins(affinities, region, lowest_level, threads)
    shared = shared_voxels(box, shape_vox)
    terminals = _terminals(basins, strongest, shared, points, region, shape_vox)
    strongest[shared] = 0  # counted when they are no longer shared
    (entering,), ends = in_falling_order(strongest.reshape(-1), basins.reshape(-1))
    del basins, strongest, shared
    gains = Falling((entering, np.broadcast_to(np.int64(1), entering.shape)), ends)
    joins = in_falling_order(tree.attached_at, tree.parents, np.arange(len(tree.parents), dtype=tree.parents.dtype))
    reduced = reduce_forest(
        len(tree.parents) - 1, joins, gains, terminals.clusters, terminals.strongest, min_size_vox=min_size_vox
    )
    return RegionForest(
        box,
        shape_vox,
        lowest_level,
        min_size_vox,
        terminals._replace(clusters=reduced.clusters),
        reduced.tree,
        reduced.gains,
        reduced.n_closed,
        reduced.histogram,
    )


def _basins(
    affinities: np.ndarray, region: Box, lowest_level: int, threads: int | None
) -> tuple[np.ndarray, np.ndarray, MergeTree]:
    """Basins and strongest affinities (z, y, x) of the region, and how basins merge."""
    levels = _levels(affinities, region)
    threads = threads_for(threads, levels.shape[1])
    basins, strongest, n_basins = find_basins(levels, lowest_level, threads)
    return basins, strongest, merge_basins(levels, basins, n_basins, lowest_level=lowest_level, threads=threads)


def _levels(affinities: np.ndarray, region: Box) -> np.ndarray:
    """(3, z, y, x) uint8 of the region. In the planes after the box there are no edges: they start in other boxes."""
    if affinities.shape[1:] == region.shape_vox:
        return to_levels(affinities)
    _, n_z, n_y, n_x = affinities.shape
    levels = np.zeros((3, *region.shape_vox), np.uint8)
    for z in range(n_z):  # in place of a second copy
        levels[:, z, :n_y, :n_x] = to_levels(affinities[:, z : z + 1])[:, 0]
    return levels


def _terminals(
    basins: np.ndarray, strongest: np.ndarray, shared: np.ndarray, points: np.ndarray, region: Box, shape_vox: Triple
) -> Terminals:
    """shared: (z, y, x) bool. points: (P, 3) in the volume; those in the region are terminals, be they in a basin or not."""
    inside = np.all((points >= region.start_vox) & (points < region.stop_vox), axis=1)
    marks = shared.astype(np.uint8).reshape(-1)
    marks[np.ravel_multi_index(tuple((points[inside] - region.start_vox).T), region.shape_vox)] |= _POINT
    voxels = np.flatnonzero(marks)
    voxels = voxels[(marks[voxels] >= _POINT) | (basins.reshape(-1)[voxels] > 0)]
    clusters, is_point = basins.reshape(-1)[voxels], marks[voxels] >= _POINT
    at_vox = [at + start for at, start in zip(np.unravel_index(voxels, region.shape_vox), region.start_vox, strict=True)]
    return Terminals(
        np.ravel_multi_index(tuple(at_vox), shape_vox),
        clusters,
        np.where(clusters > 0, strongest.reshape(-1)[voxels], 0).astype(np.uint8),
        is_point,
    )
