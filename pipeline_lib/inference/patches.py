"""Where the patches of a volume lie, and how much each of their voxels counts (the scheme of BANIS, NISB benchmark)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from pipeline_lib.geometry import Triple
from pipeline_lib.geometry.box import as_triple


def patch_starts(size: int, patch: int) -> list[int]:
    """First voxels of the patches along one axis: every half patch, and one that ends with the volume.

        size 10, patch 4:   |0  3|       |4  7|
                                |2  5|       |6  9|

    Raises ValueError where the axis is shorter than the patch; such axes are padded before, see `padded_shape`.
    """
    if not 0 < patch <= size:
        raise ValueError(f"a patch of {patch} voxels does not fit into an axis of {size}")
    last = size - patch
    return [*range(0, last, max(1, patch // 2)), last]


def patch_weights(patch_vox: Sequence[int]) -> np.ndarray:
    """(z, y, x) float32: chessboard distance to the outside of the patch, 1 at its surface; whole numbers."""
    z, y, x = (np.minimum(np.arange(1, p + 1), np.arange(p, 0, -1)) for p in as_triple(patch_vox))
    return np.minimum(np.minimum(z[:, None, None], y[:, None]), x).astype(np.float32)


def padded_shape(shape_vox: Sequence[int], patch_vox: Sequence[int]) -> Triple:
    """The volume, enlarged at the far end of every axis that is shorter than the patch."""
    return as_triple([max(s, p) for s, p in zip(shape_vox, patch_vox, strict=True)])


def starts_per_axis(shape_vox: Sequence[int], patch_vox: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """`patch_starts` of the padded volume along z, y, x; the patches are their full product."""
    z, y, x = (patch_starts(s, p) for s, p in zip(padded_shape(shape_vox, patch_vox), patch_vox, strict=True))
    return z, y, x


def starts_meeting(starts: Sequence[int], patch: int, low: int, high: int) -> list[int]:
    """Those starts whose patch holds at least one of the voxels `low <= v < high`."""
    return [s for s in starts if s < high and s + patch > low]


def count_patches(shape_vox: Sequence[int], patch_vox: Sequence[int]) -> int:
    """Forward passes of whole-volume inference."""
    return prod(len(starts) for starts in starts_per_axis(shape_vox, patch_vox))
