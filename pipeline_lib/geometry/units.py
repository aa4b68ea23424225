"""Between nanometres and voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline_lib.geometry.box import Triple, as_triple


def nm_to_vox_exact(lengths_nm: Sequence[float], voxel_size_nm: Sequence[float]) -> Triple:
    """Three lengths (z, y, x) in nm as voxels; ValueError where they are not whole voxels."""
    ratios = np.asarray(lengths_nm, float) / np.asarray(voxel_size_nm, float)
    vox = np.rint(ratios)
    if np.any(np.abs(ratios - vox) > 1e-6):
        raise ValueError(f"{tuple(lengths_nm)} nm is not a whole number of voxels of {tuple(voxel_size_nm)} nm")
    return as_triple([int(v) for v in vox])


def nm_to_vox_floor(points_nm: np.ndarray, voxel_size_nm: Sequence[float]) -> np.ndarray:
    """Points (N, 3) zyx in nm -> int64 indices of the voxels that contain them; voxel v covers [v, v + 1) voxel sizes.

    A point within 1e-6 voxel below a voxel's lower face counts as on it, so that positions computed as index * size come back.
    """
    return np.floor(np.asarray(points_nm, float) / np.asarray(voxel_size_nm, float) + 1e-6).astype(np.int64)
