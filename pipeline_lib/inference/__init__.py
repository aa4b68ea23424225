"""Affinities of a whole volume from a trained network: overlapping patches, blended, block by block."""

from pipeline_lib.inference.predict import predict_volume

__all__ = ["predict_volume"]
