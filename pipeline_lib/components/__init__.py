"""Segments as connected components of affinities, at one threshold or at all of them."""

from pipeline_lib.components.dust import give_small_segments, remove_small_segments
from pipeline_lib.components.edges import level_of
from pipeline_lib.components.flood import flood_segments
from pipeline_lib.components.grow import grow_segments
from pipeline_lib.components.label import label_components
from pipeline_lib.components.point_history import PointHistory
from pipeline_lib.components.segment import finish_components, segment_affinities
from pipeline_lib.components.threshold_sweep import HIGHEST_LEVEL, ThresholdSweep, sweep_thresholds

__all__ = [
    "HIGHEST_LEVEL",
    "PointHistory",
    "ThresholdSweep",
    "finish_components",
    "flood_segments",
    "give_small_segments",
    "grow_segments",
    "label_components",
    "level_of",
    "remove_small_segments",
    "segment_affinities",
    "sweep_thresholds",
]
