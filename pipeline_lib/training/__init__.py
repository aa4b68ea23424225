"""Training of a network on random patches, in segments that continue each other, survive kills and give the same weights."""

from pipeline_lib.training.checkpoint import load_checkpoint
from pipeline_lib.training.select import select_checkpoint
from pipeline_lib.training.train import train_segment

__all__ = ["load_checkpoint", "select_checkpoint", "train_segment"]
