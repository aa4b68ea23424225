"""A segmentation against dense labels, voxel by voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline_lib.errors import UserError
from pipeline_lib.metrics.contingency import tabulate
from pipeline_lib.metrics.label_tally import LabelTally
from pipeline_lib.metrics.scored_voxels import ScoredVoxels


@dataclass(frozen=True)
class LabelScores:
    """Voxel scores over the voxels that `rule` admits; predicted 0 counts as one more segment.

    voi_split, voi_merge: H(segmentation | truth), H(truth | segmentation) in bits; 0 is perfect.
    precision: of the pairs of voxels in one segment, the fraction in one object. recall: of the pairs in one object, the
    fraction in one segment. adapted_rand_error: 1 - harmonic mean of the two (Arganda-Carreras et al. 2015,
    doi:10.3389/fnana.2015.00142). n_voxels: how many were scored.

    Of each of O true objects, 0 not among them: object_ids, rising; object_size_vox, its scored voxels;
    object_completeness, the largest share of them in one segment other than 0; object_best_segment, that segment, 0 where there
    is none; object_purity, the share of that segment's scored voxels that lie in the object, 0 without one; object_n_segments,
    how many segments other than 0 it meets.
    completeness: their mean weighted by size. purity: of each segment other than 0 the largest share of its scored voxels in
    one object other than 0, in the mean weighted by size; 0 without any object or segment.
    """

    rule: ScoredVoxels
    voi_split: float
    voi_merge: float
    voi_sum: float
    adapted_rand_error: float
    precision: float
    recall: float
    completeness: float
    purity: float
    n_voxels: int
    object_ids: np.ndarray
    object_size_vox: np.ndarray
    object_completeness: np.ndarray
    object_best_segment: np.ndarray
    object_purity: np.ndarray
    object_n_segments: np.ndarray

    @classmethod
    def from_tally(cls, tally: LabelTally, rule: ScoredVoxels) -> LabelScores:
        """From the tally of all voxels that `rule` admits; UserError for none."""
        if not tally.n_voxels:
            why = "is masked" if rule.voxels == "all" else "is 0 or masked"
            near = f" or within {rule.boundary_tolerance_nm:g} nm of a boundary" if rule.boundary_tolerance_nm else ""
            raise UserError(f"no voxel to score: every true label {why}{near}; check the labels and the mask of this volume")
        split, merge = tally.variation_of_information()
        # A voxel is no pair with itself.
        both, same_truth, same_segment = (pairs - tally.n_voxels for pairs in tally.pair_counts())
        objects = tally.object_ids != 0
        object_vox, best_vox, best_segment_vox = (
            column[objects] for column in (tally.object_vox, tally.best_vox, tally.best_segment_vox)
        )
        return cls(
            rule=rule,
            voi_split=split,
            voi_merge=merge,
            voi_sum=split + merge,
            adapted_rand_error=1 - _ratio(2 * both, same_truth + same_segment),
            precision=_ratio(both, same_segment),
            recall=_ratio(both, same_truth),
            completeness=float(best_vox.sum() / max(object_vox.sum(), 1)),
            purity=tally.pure_vox / max(tally.segment_vox, 1),
            n_voxels=tally.n_voxels,
            object_ids=tally.object_ids[objects],
            object_size_vox=object_vox,
            object_completeness=best_vox / object_vox,
            object_best_segment=tally.best_segment[objects],
            object_purity=best_vox / np.maximum(best_segment_vox, 1),
            object_n_segments=tally.n_segments[objects],
        )

    def to_json(self) -> dict[str, float | int | str]:
        """Plain numbers and the rule, as under "voxels" in metrics.json."""
        names = ("voi_split", "voi_merge", "voi_sum", "adapted_rand_error", "precision", "recall", "completeness", "purity")
        return {
            **{name: getattr(self, name) for name in names},
            "n_voxels": self.n_voxels,
            "n_objects": len(self.object_ids),
            "voxels": self.rule.voxels,
            "boundary_tolerance_nm": self.rule.boundary_tolerance_nm,
        }


def score_labels(
    truth: np.ndarray,
    segmentation: np.ndarray,
    *,
    valid: np.ndarray | None = None,
    voxels: Literal["foreground", "all"] = "foreground",
    boundary_tolerance_nm: float = 0.0,
    voxel_size_nm: Sequence[float] | None = None,
) -> LabelScores:
    """Scores of `segmentation` against `truth`, both (z, y, x) integer ids, over voxels inside `valid` ((z, y, x) bool).

    The other options are those of ScoredVoxels. Raises ValueError for other types and shapes that differ, UserError
    where no voxel is left.
    """
    rule = ScoredVoxels(voxels, boundary_tolerance_nm, voxel_size_nm)
    for name, array in (("segmentation", segmentation), ("valid", valid)):
        if array is not None and array.shape != truth.shape:
            raise ValueError(f"truth has shape {truth.shape} but {name} {array.shape}")
    if valid is not None and valid.dtype != bool:
        raise ValueError(f"valid must be bool, got {valid.dtype}")
    return LabelScores.from_tally(LabelTally.of(tabulate(truth, segmentation, where=rule.of(truth, valid))), rule)


def _ratio(part: float, whole: float) -> float:
    """part / whole; without any pair there is nothing to get wrong: 1."""
    return part / whole if whole > 0 else 1.0
