"""Affinity targets: what a network learns from labels, and how labels are prepared for it."""

from pipeline_lib.affinity.encode import EncodedAffinities, encode_affinities
from pipeline_lib.affinity.training_labels import erode_labels, relabel_components

__all__ = ["EncodedAffinities", "encode_affinities", "erode_labels", "relabel_components"]
