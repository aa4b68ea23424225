"""Segments as connected components of affinities, at one threshold or at all of them."""

from pipeline_lib.components.block_joins import JoinedBlocks, join_blocks
from pipeline_lib.components.block_labels import BlockLabels, BlockSummary, label_block
from pipeline_lib.components.dust import give_small_segments, remove_small_segments
from pipeline_lib.components.edges import level_of
from pipeline_lib.components.flood import flood_segments
from pipeline_lib.components.grow import grow_segments
from pipeline_lib.components.label import label_components
from pipeline_lib.components.point_history import PointHistory
from pipeline_lib.components.regions import (
    Join,
    PointSweep,
    RegionForest,
    finish_sweep,
    join_regions,
    join_rounds,
    reduce_block,
)
from pipeline_lib.components.relabel import relabel
from pipeline_lib.components.segment import finish_components, segment_affinities
from pipeline_lib.components.threshold_sweep import HIGHEST_LEVEL, ThresholdSweep, sweep_thresholds

__all__ = [
    "HIGHEST_LEVEL",
    "BlockLabels",
    "BlockSummary",
    "Join",
    "JoinedBlocks",
    "PointHistory",
    "PointSweep",
    "RegionForest",
    "ThresholdSweep",
    "finish_components",
    "finish_sweep",
    "flood_segments",
    "give_small_segments",
    "grow_segments",
    "join_blocks",
    "join_regions",
    "join_rounds",
    "label_block",
    "label_components",
    "level_of",
    "reduce_block",
    "relabel",
    "remove_small_segments",
    "segment_affinities",
    "sweep_thresholds",
]
