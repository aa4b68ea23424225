"""The stages that score: every threshold on val, the choice of one, and the segmentations at that choice."""

from pipeline_lib.evaluation.choice import choose_threshold
from pipeline_lib.evaluation.evaluate import evaluate_volume
from pipeline_lib.evaluation.sweep import sweep_volume

__all__ = ["choose_threshold", "evaluate_volume", "sweep_volume"]
