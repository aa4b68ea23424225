"""A segmentation against dense labels, voxel by voxel."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from pipeline_lib.errors import UserError
from pipeline_lib.metrics.contingency import tabulate


@dataclass(frozen=True)
class LabelScores:
    """Voxel scores over all voxels whose true id is not 0; predicted 0 counts as one more segment.

    voi_split, voi_merge: H(segmentation | truth), H(truth | segmentation) in bits; 0 is perfect.
    precision: of the pairs of voxels in one segment, the fraction in one object. recall: of the pairs in one object, the
    fraction in one segment. adapted_rand_error: 1 - harmonic mean of the two (Arganda-Carreras et al. 2015,
    doi:10.3389/fnana.2015.00142). n_voxels: how many were scored.
    """

    voi_split: float
    voi_merge: float
    voi_sum: float
    adapted_rand_error: float
    precision: float
    recall: float
    n_voxels: int

    def to_json(self) -> dict[str, float | int]:
        """Plain numbers, as under "voxels" in metrics.json."""
        return asdict(self)


def score_labels(truth: np.ndarray, segmentation: np.ndarray, *, valid: np.ndarray | None = None) -> LabelScores:
    """Scores of `segmentation` against `truth`, both (z, y, x) integer ids.

    Voxels with true id 0 are left out, and those outside `valid` ((z, y, x) bool).
    Raises ValueError for shapes that differ, UserError where no voxel is left to score.
    """
    for name, array in (("segmentation", segmentation), ("valid", valid)):
        if array is not None and array.shape != truth.shape:
            raise ValueError(f"truth has shape {truth.shape} but {name} {array.shape}")
    scored = truth != 0 if valid is None else (truth != 0) & valid
    if not scored.any():
        raise UserError("no voxel to score: every true label is 0 or masked; check the labels and the mask of this volume")
    table = tabulate(truth[scored], segmentation[scored])
    split, merge = table.variation_of_information()
    n_voxels = int(table.counts.sum())
    # A voxel is no pair with itself.
    both, same_truth, same_segment = (pairs - n_voxels for pairs in table.pair_counts())
    return LabelScores(
        voi_split=split,
        voi_merge=merge,
        voi_sum=split + merge,
        adapted_rand_error=1 - _ratio(2 * both, same_truth + same_segment),
        precision=_ratio(both, same_segment),
        recall=_ratio(both, same_truth),
        n_voxels=n_voxels,
    )


def _ratio(part: float, whole: float) -> float:
    """part / whole; without any pair there is nothing to get wrong: 1."""
    return part / whole if whole > 0 else 1.0
