"""How good a segmentation is: against skeletons, against dense labels, and where it is worst."""

from pipeline_lib.metrics.bootstrap import (
    BootstrapIntervals,
    PairedComparison,
    PairedDifference,
    SkeletonTable,
    bootstrap_intervals,
    compare_skeleton_scores,
)
from pipeline_lib.metrics.label_scores import LabelScores, score_labels
from pipeline_lib.metrics.label_tally import LabelTally
from pipeline_lib.metrics.scored_voxels import ScoredVoxels
from pipeline_lib.metrics.skeleton_scores import REPORTED_TOLERANCES, SkeletonScores, score_skeletons
from pipeline_lib.metrics.threshold_curve import ThresholdCurve, score_thresholds
from pipeline_lib.metrics.worst_errors import SkeletonError, worst_errors

__all__ = [
    "REPORTED_TOLERANCES",
    "BootstrapIntervals",
    "LabelScores",
    "LabelTally",
    "PairedComparison",
    "PairedDifference",
    "ScoredVoxels",
    "SkeletonError",
    "SkeletonScores",
    "SkeletonTable",
    "ThresholdCurve",
    "bootstrap_intervals",
    "compare_skeleton_scores",
    "score_labels",
    "score_skeletons",
    "score_thresholds",
    "worst_errors",
]
