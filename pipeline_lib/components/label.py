"""Connected components of a volume whose edges are affinities above a threshold."""

from __future__ import annotations

import numpy as np

from pipeline_lib.components.edges import check_affinities, comparable
from pipeline_lib.components.links import link_above, unlink_outside
from pipeline_lib.components.slabs import FillLinks, label_links, threads_for


def label_components(
    affinities: np.ndarray, threshold: float, *, foreground: np.ndarray | None = None, threads: int | None = None
) -> np.ndarray:
    """Connected components of the edges with an affinity above `threshold`.

    affinities: (3, z, y, x) uint8 (v stands for v / 255), float16 or float32; channel c is the edge from a voxel to the next
    along axis c, stored at the first of the two. Edges in the last plane of their axis lead out of the volume and are ignored;
    NaN is no edge. foreground: (z, y, x) bool; an edge needs both its ends in it. threads: by default, all processors; the
    result is the same for any number. Beyond the input, at most twice the memory of the result is used.

    Returns (z, y, x) uint32, or uint64 where that is too small for the number of voxels: segments 1..n in the order of their
    first voxels; 0 = a voxel without any edge above the threshold.
    Raises ValueError for another dtype, number of channels or shape, or a threshold outside 0..1.
    """
    check_affinities(affinities)
    shape_vox = affinities.shape[1:]
    if foreground is not None:
        if foreground.shape != shape_vox or foreground.dtype != bool:
            raise ValueError(f"foreground must be bool {shape_vox}, got {foreground.dtype} {foreground.shape}")
        foreground = np.ascontiguousarray(foreground)
    values, low, high = comparable(affinities, threshold)

    def fill(z: int, links: np.ndarray) -> None:
        link_above(values, low, high, z, links)
        if foreground is not None:
            unlink_outside(foreground, z, links)

    def links_from(_: int) -> FillLinks:
        return fill

    return label_links(shape_vox, links_from, threads=threads_for(threads, shape_vox[0]))[0]
