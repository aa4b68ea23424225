"""Affinities of a whole volume from a trained network: overlapping patches, blended, block by block."""

from pipeline_lib.inference.average import average_predictions
from pipeline_lib.inference.predict import predict_volume

__all__ = ["average_predictions", "predict_volume"]
