"""Skeletons of neurons: trees of nodes in nm."""

from pipeline_lib.skeletons.skeletons import Skeletons, load_skeletons, save_skeletons

__all__ = ["Skeletons", "load_skeletons", "save_skeletons"]
