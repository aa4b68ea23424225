"""What a volume offers to score a segmentation against, and how a block of it is tabulated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np

from pipeline_lib.artefacts import Budget
from pipeline_lib.artefacts.budget import PROCESS_MB
from pipeline_lib.artefacts.npz import length_of
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid, Triple, nm_to_vox_floor
from pipeline_lib.geometry.grid import Block
from pipeline_lib.metrics import ScoredVoxels
from pipeline_lib.settings.scoring import EvaluationSettings
from pipeline_lib.skeletons import Skeletons, load_skeletons
from pipeline_lib.skeletons.parts import nodes_outside, positions_in_parts
from pipeline_lib.volumes import Volume

_LABEL_BYTES = 16  # of a voxel: true label and segment, up to 8 each
_MASK_BYTES = 4
_DISTANCE_BYTES = 13  # of a distance to the nearest boundary, and what it is computed from


@dataclass(frozen=True)
class TrueVoxels:
    """labels: (z, y, x), 0 = background. scored: (z, y, x) bool, which of them the settings admit."""

    labels: np.ndarray
    scored: np.ndarray


@dataclass(frozen=True)
class GroundTruth:
    """The truth of one volume, as far as there is one and the settings ask for it; voxels are read block by block.

    A metric that is asked for and cannot be computed is a UserError.
    """

    volume: Volume
    settings: EvaluationSettings

    def __post_init__(self) -> None:
        if self.settings.skeleton_metrics and self.volume.skeletons_file is None:
            raise UserError(f"evaluation.skeleton_metrics is on, but volume {self.volume.name} has no skeletons")
        if self.settings.voxel_metrics and self.volume.labels_path is None:
            raise UserError(f"evaluation.voxel_metrics is on, but volume {self.volume.name} has no labels")

    @property
    def has_voxels(self) -> bool:
        return self.settings.voxel_metrics is not False and self.volume.labels_path is not None

    @property
    def has_skeletons(self) -> bool:
        return self.settings.skeleton_metrics is not False and self.volume.skeletons_file is not None

    @cached_property
    def skeletons(self) -> Skeletons | None:
        """All of them, which finishing needs; blocks do with the nodes in them (`nodes`)."""
        return load_skeletons(self._skeletons_file) if self.has_skeletons else None

    def check_skeletons_fit(self, budget: Budget, *, node_bytes: int, name: str) -> None:
        """UserError where finishing could not hold all nodes, at so many bytes for each."""
        n_nodes = length_of(self._skeletons_file, "node_skeleton_ids") if self.has_skeletons else 0
        need_mb = PROCESS_MB + node_bytes * n_nodes / 1e6
        if need_mb > budget.memory_mb:
            raise UserError(
                f"{name}: scoring {n_nodes} skeleton nodes takes {need_mb:.0f} MB, but the memory budget is "
                f"{budget.memory_mb:.0f} MB; give the stage more memory, or evaluation.skeleton_metrics: false"
            )

    @property
    def _skeletons_file(self) -> Path:
        if self.volume.skeletons_file is None:
            raise ValueError("there are no skeletons")
        return self.volume.skeletons_file

    def node_voxels(self) -> np.ndarray:
        """(N, 3) int64 zyx of the nodes; UserError for one outside the volume."""
        self.check_nodes_inside()
        return np.concatenate([np.zeros((0, 3), np.int64), *self.node_voxels_in_parts()])

    def node_voxels_in_parts(self) -> Iterator[np.ndarray]:
        """(n, 3) int64 zyx of so many nodes at a time, in their order."""
        for positions_nm in positions_in_parts(self._skeletons_file) if self.has_skeletons else ():
            yield nm_to_vox_floor(positions_nm, self.volume.voxel_size_nm)

    def check_nodes_inside(self) -> None:
        """UserError for a node outside the volume."""
        volume = self.volume
        if not self.has_skeletons:
            return
        found = nodes_outside(positions_in_parts(self._skeletons_file), volume.shape_vox, volume.voxel_size_nm)
        if found is not None:
            extent = [n * s for n, s in zip(volume.shape_vox, volume.voxel_size_nm, strict=True)]
            raise UserError(
                f"volume {volume.name}: {found.n_outside} skeleton nodes lie outside, such as {found.first_nm.tolist()} nm of "
                f"{extent} nm"
            )

    @property
    def rule(self) -> ScoredVoxels:
        return ScoredVoxels(self.settings.voxels, self.settings.boundary_tolerance_nm, self.volume.voxel_size_nm)

    def grid(self, block_vox: Triple) -> BlockGrid:
        """Blocks to tabulate, with the halo that decides which of their voxels are scored."""
        return BlockGrid(self.volume.shape_vox, block_vox, self.rule.halo_vox if self.has_voxels else (0, 0, 0))

    def need_mb(self, block_vox: Triple) -> float:
        """Memory to tabulate one block, in MB."""
        per_voxel = _LABEL_BYTES
        if self.has_voxels:
            per_voxel += _MASK_BYTES + (_DISTANCE_BYTES if self.settings.boundary_tolerance_nm else 0)
        return per_voxel * prod(self.grid(block_vox).largest_read_vox) / 1e6

    def voxels_of(self, block: Block) -> TrueVoxels | None:
        """The truth in the block's write_box; None where there are no labels to score."""
        labels_array, mask_array = self.volume.labels(), self.volume.mask()
        if not self.has_voxels or labels_array is None:
            return None
        labels = np.asarray(labels_array[block.read_box.slices])
        valid = np.asarray(mask_array[block.read_box.slices]) > 0 if mask_array is not None else None
        inside = block.write_box.relative_to(block.read_box).slices
        return TrueVoxels(labels[inside], self.rule.of(labels, valid)[inside])
