"""Synthetic EM volumes: neurites grown to fill space, their exact labels and skeletons, and rendered images."""

from pipeline_lib.synthetic.rendering import Look
from pipeline_lib.synthetic.volume import SyntheticVolume, generate
from pipeline_lib.synthetic.write import generate_volume

__all__ = ["Look", "SyntheticVolume", "generate", "generate_volume"]
