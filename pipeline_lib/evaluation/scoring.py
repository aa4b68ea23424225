"""What a volume offers to score a segmentation against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import zarr

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid, nm_to_vox_floor
from pipeline_lib.geometry.box import as_triple
from pipeline_lib.geometry.grid import Block
from pipeline_lib.metrics import LabelScores, ScoredVoxels, SkeletonScores, score_skeletons
from pipeline_lib.metrics.contingency import Contingency, joined, tabulate
from pipeline_lib.settings.scoring import SHARD_VOX, EvaluationSettings
from pipeline_lib.skeletons import Skeletons, load_skeletons
from pipeline_lib.volumes import Volume, read_points

BLOCK_VOX = as_triple([2 * n for n in SHARD_VOX])  # of labels and segmentation in memory at once


@dataclass(frozen=True)
class GroundTruth:
    """The truth of one volume, as far as there is one and the settings ask for it.

    node_voxels: (N, 3) of the nodes. labels: (z, y, x), 0 = background. mask: (z, y, x), above 0 = labelled; None if every
    voxel is. scored: (z, y, x) bool, which voxels `scored_voxels` admits, where that is known beforehand. Labels, mask and the
    segmentations to score are arrays in memory or on disk; those on disk are read block by block, and for nodes chunk by chunk.
    """

    skeletons: Skeletons | None
    node_voxels: np.ndarray | None
    labels: np.ndarray | zarr.Array | None
    mask: np.ndarray | zarr.Array | None
    scored_voxels: ScoredVoxels
    merge_tolerance: int
    scored: np.ndarray | None = None

    @classmethod
    def of(cls, volume: Volume, settings: EvaluationSettings, *, in_memory: bool = True) -> GroundTruth:
        """The truth of `volume`; a metric that is asked for and cannot be computed is a UserError.

        in_memory: read labels and mask at once, to score several segmentations.
        """
        if settings.skeleton_metrics and volume.skeletons_file is None:
            raise UserError(f"evaluation.skeleton_metrics is on, but volume {volume.name} has no skeletons")
        if settings.voxel_metrics and volume.labels_path is None:
            raise UserError(f"evaluation.voxel_metrics is on, but volume {volume.name} has no labels")
        skeletons = voxels = None
        labels: np.ndarray | zarr.Array | None = None
        mask: np.ndarray | zarr.Array | None = None
        if settings.skeleton_metrics is not False and volume.skeletons_file is not None:
            skeletons = load_skeletons(volume.skeletons_file)
            voxels = _voxels_of_nodes(skeletons, volume)
        if settings.voxel_metrics is not False and volume.labels_path is not None:
            labels, mask = volume.labels(), volume.mask()
            if in_memory:
                labels, mask = (None if array is None else np.asarray(array[:]) for array in (labels, mask))
        rule = ScoredVoxels(settings.voxels, settings.boundary_tolerance_nm, volume.voxel_size_nm)
        scored = None
        if isinstance(labels, np.ndarray):
            scored = rule.of(labels, None if mask is None else np.asarray(mask) > 0)
        return cls(skeletons, voxels, labels, mask, rule, settings.merge_tolerance, scored)

    def node_segments(self, segmentation: np.ndarray | zarr.Array) -> np.ndarray:
        """(N,) segment of each skeleton node."""
        if self.node_voxels is None:
            raise ValueError("there are no skeletons")
        if isinstance(segmentation, np.ndarray):
            return segmentation[tuple(self.node_voxels.T)]
        return read_points(segmentation, self.node_voxels)

    def score_skeletons(self, segmentation: np.ndarray | zarr.Array) -> SkeletonScores | None:
        if self.skeletons is None:
            return None
        return score_skeletons(self.skeletons, self.node_segments(segmentation), merge_tolerance=self.merge_tolerance)

    def score_voxels(self, segmentation: np.ndarray | zarr.Array) -> LabelScores | None:
        """Equal to score_labels on the whole volume."""
        if self.labels is None:
            return None
        if isinstance(self.labels, np.ndarray) and isinstance(segmentation, np.ndarray):
            return LabelScores.from_table(tabulate(self.labels, segmentation, where=self.scored), self.scored_voxels)
        grid = BlockGrid(as_triple(self.labels.shape), BLOCK_VOX, self.scored_voxels.halo_vox)
        return LabelScores.from_table(joined(self._table(segmentation, block) for block in grid), self.scored_voxels)

    def _table(self, segmentation: np.ndarray | zarr.Array, block: Block) -> Contingency:
        if self.labels is None:
            raise ValueError("there are no labels")
        labels = np.asarray(self.labels[block.read_box.slices])
        valid = np.asarray(self.mask[block.read_box.slices]) > 0 if self.mask is not None else None
        inside = block.write_box.relative_to(block.read_box).slices
        scored = self.scored_voxels.of(labels, valid)[inside]
        return tabulate(labels[inside], np.asarray(segmentation[block.write_box.slices]), where=scored)


def _voxels_of_nodes(skeletons: Skeletons, volume: Volume) -> np.ndarray:
    voxels = nm_to_vox_floor(skeletons.node_positions_nm, volume.voxel_size_nm)
    outside = np.any((voxels < 0) | (voxels >= np.array(volume.shape_vox)), axis=1)
    if outside.any():
        first = skeletons.node_positions_nm[outside][0].tolist()
        extent = [n * s for n, s in zip(volume.shape_vox, volume.voxel_size_nm, strict=True)]
        raise UserError(f"volume {volume.name}: {outside.sum()} skeleton nodes lie outside, such as {first} nm of {extent} nm")
    return voxels
