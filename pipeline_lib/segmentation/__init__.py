"""From affinities to segments: blocks are labelled, joined at their faces and written; or all at once where that must be."""

from pipeline_lib.segmentation.labelling import label_volume
from pipeline_lib.segmentation.segment import segment_volume
from pipeline_lib.segmentation.whole import segment_whole_volume

__all__ = ["label_volume", "segment_volume", "segment_whole_volume"]
