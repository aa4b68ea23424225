"""The whole of a segmentation from affinities, as the sweep tries it and the segmentation applies it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline_lib.components.dust import give_small_segments, remove_small_segments
from pipeline_lib.components.flood import flood_segments
from pipeline_lib.components.grow import grow_segments
from pipeline_lib.components.label import label_components


def segment_affinities(
    affinities: np.ndarray,
    threshold: float,
    *,
    min_size_vox: int = 0,
    dust: Literal["drop", "give"] = "drop",
    grow_vox: int = 0,
    flood: bool = False,
) -> np.ndarray:
    """Components of edges above `threshold`, then finished as by finish_components.

    affinities: (3, z, y, x), storage at the source voxel. Returns uint32 (z, y, x), ids 1..n, 0 = background.
    """
    labels = label_components(affinities, threshold)
    return finish_components(labels, affinities, min_size_vox=min_size_vox, dust=dust, grow_vox=grow_vox, flood=flood)


def finish_components(
    labels: np.ndarray,
    affinities: np.ndarray,
    *,
    min_size_vox: int = 0,
    dust: Literal["drop", "give"] = "drop",
    grow_vox: int = 0,
    flood: bool = False,
) -> np.ndarray:
    """Small components dropped or given to a neighbour, the others grown by `grow_vox` or flooding all background.

    labels: (z, y, x) unsigned components of the affinities (3, z, y, x), 0 = background. Returns the same dtype, ids 1..n.
    """
    if min_size_vox > 1:
        dropped = dust == "drop"
        labels = (
            remove_small_segments(labels, min_size_vox) if dropped else give_small_segments(labels, affinities, min_size_vox)
        )
    if flood:
        return flood_segments(labels, affinities)
    return grow_segments(labels, grow_vox) if grow_vox else labels
