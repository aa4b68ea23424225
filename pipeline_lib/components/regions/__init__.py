"""The sweep over all thresholds of a volume larger than memory: blocks are reduced, then joined pairwise.

    affinities of a block -- reduce_block --> RegionForest --.
                                                             join_regions --> RegionForest, ..., -- finish_sweep --> PointSweep
    affinities of a block -- reduce_block --> RegionForest --'

The result is that of sweep_thresholds, exactly, whatever the blocks and the order in which they are joined.
"""

from pipeline_lib.components.regions.block import reduce_block
from pipeline_lib.components.regions.finish import PointSweep, finish_sweep
from pipeline_lib.components.regions.forest import RegionForest
from pipeline_lib.components.regions.join_order import Join, join_rounds
from pipeline_lib.components.regions.joining import join_regions

__all__ = ["Join", "PointSweep", "RegionForest", "finish_sweep", "join_regions", "join_rounds", "reduce_block"]
