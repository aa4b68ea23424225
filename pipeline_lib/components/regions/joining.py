"""Two forests become one at the voxels that both hold."""

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline_lib.components.falling import in_falling_order
from pipeline_lib.components.regions.forest import Gains, RegionForest, Terminals
from pipeline_lib.components.regions.reduction import reduce_forest
from pipeline_lib.components.regions.shared import is_shared
from pipeline_lib.components.slabs import id_type
from pipeline_lib.geometry import Box, Triple

_Columns = tuple[np.ndarray, ...]


def join_regions(a: RegionForest, b: RegionForest) -> RegionForest:
    """The forest of two regions whose boxes form a box.

    A voxel that both hold is in a cluster of each: these merge below the level at which it is in both. The one in which it is
    from a higher level on keeps it, so that is where a third region finds it.

        region a: the voxel is in cluster 4 below 200           both: 4 and 9 merge at 120,
        region b: the voxel is in cluster 9 below 120                 the voxel is in cluster 4 below 200

    What only these two share is counted now, and ceases to be a terminal unless it is a point.
    Raises ValueError for boxes that do not form a box, or if the forests' volumes, lowest levels or minimal sizes differ.
    """
    box = _united(a, b)
    n_a, n_b = len(a.tree.parents) - 1, len(b.tree.parents) - 1
    ids = id_type(n_a + n_b)
    terminals, links, counted = _meet(_terminals(a, 0, ids), _terminals(b, n_a, ids), [box, a.box, b.box], a.shape_vox)
    *ends, levels = _concatenated(_merges(a, 0, ids), _merges(b, n_a, ids), links)
    joins = in_falling_order(levels, *ends)
    clusters, levels, n_vox = _concatenated(_gains(a, 0, ids), _gains(b, n_a, ids), counted)
    gains = in_falling_order(levels, clusters, n_vox)
    reduced = reduce_forest(n_a + n_b, joins, gains, terminals.clusters, terminals.strongest, min_size_vox=a.min_size_vox)
    return RegionForest(
        box,
        a.shape_vox,
        a.lowest_level,
        a.min_size_vox,
        terminals._replace(clusters=reduced.clusters),
        reduced.tree,
        reduced.gains,
        a.n_closed + b.n_closed + reduced.n_closed,
        a.histogram + b.histogram + reduced.histogram,
    )


def _united(a: RegionForest, b: RegionForest) -> Box:
    for name in ("shape_vox", "lowest_level", "min_size_vox"):
        of_a, of_b = getattr(a, name), getattr(b, name)
        if of_a != of_b:
            raise ValueError(f"regions of one sweep have the same {name}, got {of_a} and {of_b}")
    start = np.minimum(a.box.start_vox, b.box.start_vox)
    stop = np.maximum(a.box.stop_vox, b.box.stop_vox)
    united = Box(start.tolist(), stop.tolist())
    if a.box.meets(b.box) or united.n_voxels != a.box.n_voxels + b.box.n_voxels:
        raise ValueError(f"{a.box} and {b.box} do not form a box")
    return united


def _terminals(forest: RegionForest, shift: int, ids: type) -> Terminals:
    """shift: from the clusters of a forest to those of both. Cluster 0 may become any: nothing is in it at any level."""
    return forest.terminals._replace(clusters=_shifted(forest.terminals.clusters, shift, ids))


def _merges(forest: RegionForest, shift: int, ids: type) -> _Columns:
    """Rows (cluster, cluster, level)."""
    parents = _shifted(forest.tree.parents, shift, ids)
    return parents, np.arange(shift, shift + len(parents), dtype=ids), forest.tree.attached_at


def _gains(forest: RegionForest, shift: int, ids: type) -> _Columns:
    return forest.gains._replace(clusters=_shifted(forest.gains.clusters, shift, ids))


def _shifted(clusters: np.ndarray, shift: int, ids: type) -> np.ndarray:
    return clusters.astype(ids) + ids(shift)


def _concatenated(*parts: _Columns) -> _Columns:
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def _meet(a: Terminals, b: Terminals, boxes: list[Box], shape_vox: Triple) -> tuple[Terminals, _Columns, Gains]:
    """The terminals of both regions; rows (cluster, cluster, level) of those that both hold; and the gains of those counted.

    boxes: of both, of a, of b.
    """
    most = len(a.voxels) + len(b.voxels)
    ids = a.clusters.dtype
    terminals = Terminals(np.empty(most, np.int64), np.empty(most, ids), np.empty(most, np.uint8), np.empty(most, bool))
    counted = Gains(np.empty(most, ids), np.empty(most, np.uint8), np.ones(most, np.int64))
    links = np.empty(most // 2, ids), np.empty(most // 2, ids), np.empty(most // 2, np.uint8)
    planes = np.array([(box.start_vox, box.stop_vox) for box in boxes])
    n_terminals, n_links, n_counted = _merge_terminals(a, b, planes, np.array(shape_vox), terminals, links, counted)
    return (
        Terminals(*(column[:n_terminals] for column in terminals)),
        tuple(column[:n_links] for column in links),
        Gains(*(column[:n_counted] for column in counted)),
    )


@njit(cache=True, nogil=True)
def _merge_terminals(
    a: Terminals,
    b: Terminals,
    planes: np.ndarray,
    shape_vox: np.ndarray,
    terminals: Terminals,
    links: tuple[np.ndarray, np.ndarray, np.ndarray],
    counted: Gains,
) -> tuple[int, int, int]:
    """planes: (3, 2, 3) start and stop of the boxes of both, of a, of b. As both lists of voxels rise, so does the new one."""
    n_terminals, n_links, n_counted, i, j = 0, 0, 0, 0, 0
    while i < len(a.voxels) or j < len(b.voxels):
        in_a = i < len(a.voxels) and (j == len(b.voxels) or a.voxels[i] <= b.voxels[j])
        in_b = j < len(b.voxels) and (i == len(a.voxels) or b.voxels[j] <= a.voxels[i])
        if in_a and in_b:
            links[0][n_links], links[1][n_links] = a.clusters[i], b.clusters[j]
            links[2][n_links] = min(a.strongest[i], b.strongest[j])
            n_links += 1
        of_a = in_a and not (in_b and b.strongest[j] > a.strongest[i])
        voxel = a.voxels[i] if of_a else b.voxels[j]
        cluster = a.clusters[i] if of_a else b.clusters[j]
        strongest = a.strongest[i] if of_a else b.strongest[j]
        is_point = (in_a and a.is_point[i]) or (in_b and b.is_point[j])
        shared = is_shared(voxel, planes[0], shape_vox)
        # A point within a box has been counted before. All others are terminals because they were shared.
        if not shared and (not is_point or is_shared(voxel, planes[1] if in_a else planes[2], shape_vox)):
            counted.clusters[n_counted], counted.levels[n_counted] = cluster, strongest
            n_counted += 1
        if shared or is_point:
            terminals.voxels[n_terminals], terminals.clusters[n_terminals] = voxel, cluster
            terminals.strongest[n_terminals], terminals.is_point[n_terminals] = strongest, is_point
            n_terminals += 1
        i, j = i + in_a, j + in_b
    return n_terminals, n_links, n_counted
