"""Segments as connected components of affinities, at one threshold or at all of them."""

from pipeline_lib.components.flood import flood_segments
from pipeline_lib.components.label import label_components, level_of
from pipeline_lib.components.segment import segment_affinities
from pipeline_lib.components.segments import grow_segments, remove_small_segments
from pipeline_lib.components.threshold_sweep import ThresholdSweep, sweep_thresholds

__all__ = [
    "ThresholdSweep",
    "flood_segments",
    "grow_segments",
    "label_components",
    "level_of",
    "remove_small_segments",
    "segment_affinities",
    "sweep_thresholds",
]
