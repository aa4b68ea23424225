"""The stage that turns predicted affinities into a segmentation."""

from pipeline_lib.segmentation.segment import segment_volume

__all__ = ["segment_volume"]
