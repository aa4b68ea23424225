"""What a volume offers to score a segmentation against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import nm_to_vox_floor
from pipeline_lib.metrics import LabelScores, SkeletonScores, score_labels, score_skeletons
from pipeline_lib.settings.scoring import EvaluationSettings
from pipeline_lib.skeletons import Skeletons, load_skeletons
from pipeline_lib.volumes import Volume


@dataclass(frozen=True)
class GroundTruth:
    """The truth of one volume, as far as there is one and the settings ask for it.

    labels: (z, y, x), 0 = background. labelled: bool (z, y, x), or None if every voxel is. node_voxels: (N, 3) of the nodes.
    """

    skeletons: Skeletons | None
    node_voxels: np.ndarray | None
    labels: np.ndarray | None
    labelled: np.ndarray | None
    merge_tolerance: int

    @classmethod
    def of(cls, volume: Volume, settings: EvaluationSettings) -> GroundTruth:
        """Read from the volume; a metric that is asked for and cannot be computed is a UserError."""
        if settings.skeleton_metrics and volume.skeletons_file is None:
            raise UserError(f"evaluation.skeleton_metrics is on, but volume {volume.name} has no skeletons")
        if settings.voxel_metrics and volume.labels_path is None:
            raise UserError(f"evaluation.voxel_metrics is on, but volume {volume.name} has no labels")
        skeletons = voxels = labels = labelled = None
        if settings.skeleton_metrics is not False and volume.skeletons_file is not None:
            skeletons = load_skeletons(volume.skeletons_file)
            voxels = _voxels_of_nodes(skeletons, volume)
        if settings.voxel_metrics is not False and volume.labels_path is not None:
            stored, mask = volume.labels(), volume.mask()
            labels = np.asarray(stored[:]) if stored is not None else None
            labelled = np.asarray(mask[:]) > 0 if mask is not None else None
        return cls(skeletons, voxels, labels, labelled, settings.merge_tolerance)

    def node_segments(self, segmentation: np.ndarray) -> np.ndarray:
        """(N,) segment of each skeleton node; segmentation: (z, y, x)."""
        if self.node_voxels is None:
            raise ValueError("there are no skeletons")
        return segmentation[tuple(self.node_voxels.T)]

    def score_skeletons(self, segmentation: np.ndarray) -> SkeletonScores | None:
        if self.skeletons is None:
            return None
        return score_skeletons(self.skeletons, self.node_segments(segmentation), merge_tolerance=self.merge_tolerance)

    def score_voxels(self, segmentation: np.ndarray) -> LabelScores | None:
        return None if self.labels is None else score_labels(self.labels, segmentation, valid=self.labelled)


def _voxels_of_nodes(skeletons: Skeletons, volume: Volume) -> np.ndarray:
    voxels = nm_to_vox_floor(skeletons.node_positions_nm, volume.voxel_size_nm)
    outside = np.any((voxels < 0) | (voxels >= np.array(volume.shape_vox)), axis=1)
    if outside.any():
        first = skeletons.node_positions_nm[outside][0].tolist()
        extent = [n * s for n, s in zip(volume.shape_vox, volume.voxel_size_nm, strict=True)]
        raise UserError(f"volume {volume.name}: {outside.sum()} skeleton nodes lie outside, such as {first} nm of {extent} nm")
    return voxels
