"""Which voxels of a labelled volume are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from edt import edt

from pipeline_lib.geometry import Triple


@dataclass(frozen=True)
class ScoredVoxels:
    """A rule over true labels, the same for a whole volume and for its blocks.

    voxels: "foreground" leaves out those with true id 0; with "all", 0 is the id of one more object.

    boundary_tolerance_nm: voxels at most so far from a boundary between true labels are left out; with 0, none. At a boundary
    are voxels with a face to another true id, 0 among them; distances run in nm from the middle of a voxel to that of the
    nearest one at a boundary, so that those at the boundary itself are 0 nm away. The surface of the volume and unlabelled
    voxels make no boundary. As in the CREMI challenge (cremi.org, `create_border_mask`), which instead looks at each z section
    by itself, without boundaries and distances across sections, and leaves the voxels at a boundary out at a distance of 0 too.
    voxel_size_nm: (z, y, x), needed for the distance.
    """

    voxels: Literal["foreground", "all"] = "foreground"
    boundary_tolerance_nm: float = 0.0
    voxel_size_nm: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.voxels not in ("foreground", "all"):
            raise ValueError(f'voxels must be "foreground" or "all", got {self.voxels!r}')
        if not 0 <= self.boundary_tolerance_nm < np.inf:
            raise ValueError(f"boundary_tolerance_nm must be >= 0 and finite, got {self.boundary_tolerance_nm}")
        if self.boundary_tolerance_nm and self.voxel_size_nm is None:
            raise ValueError(f"boundary_tolerance_nm {self.boundary_tolerance_nm:g} needs voxel_size_nm (z, y, x)")

    @property
    def halo_vox(self) -> Triple:
        """How much of the volume around a block decides which of its voxels are scored."""
        if not self.boundary_tolerance_nm or self.voxel_size_nm is None:
            return 0, 0, 0
        z, y, x = (int(self._reach_nm / size) + 1 for size in self.voxel_size_nm)
        return z, y, x

    def of(self, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """(z, y, x) bool; truth: (z, y, x) ids, valid: (z, y, x) bool, False = unlabelled, which is never scored."""
        scored = truth != 0 if self.voxels == "foreground" else np.ones(truth.shape, bool)
        if valid is not None:
            scored &= valid
        if self.boundary_tolerance_nm:
            apart = np.ascontiguousarray(~_at_boundary(truth, valid))
            scored &= edt(apart, anisotropy=tuple(map(float, self.voxel_size_nm or ()))) > self._reach_nm
        return scored

    @property
    def _reach_nm(self) -> float:
        return self.boundary_tolerance_nm * (1 + 1e-5)  # distances come as float32


def _at_boundary(truth: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    found = np.zeros(truth.shape, bool)
    for axis in range(3):
        here = (slice(None),) * axis + (slice(None, -1),)
        ahead = (slice(None),) * axis + (slice(1, None),)
        differ = truth[here] != truth[ahead]
        if valid is not None:
            differ &= valid[here] & valid[ahead]
        found[here] |= differ
        found[ahead] |= differ
    return found
