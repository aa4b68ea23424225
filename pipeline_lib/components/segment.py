"""The whole of a segmentation from affinities, as the sweep tries it and the segmentation applies it."""

from __future__ import annotations

import numpy as np

from pipeline_lib.components.dust import remove_small_segments
from pipeline_lib.components.flood import flood_segments
from pipeline_lib.components.grow import grow_segments
from pipeline_lib.components.label import label_components


def segment_affinities(
    affinities: np.ndarray, threshold: float, *, min_size_vox: int = 0, grow_vox: int = 0, flood: bool = False
) -> np.ndarray:
    """Components of edges above `threshold`, without the small ones, then grown by `grow_vox` or flooding all background.

    affinities: (3, z, y, x), storage at the source voxel. Returns uint32 (z, y, x), ids 1..n, 0 = background.
    """
    labels = label_components(affinities, threshold)
    if min_size_vox > 1:
        labels = remove_small_segments(labels, min_size_vox)
    if flood:
        return flood_segments(labels, affinities)
    return grow_segments(labels, grow_vox) if grow_vox else labels
