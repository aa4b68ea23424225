"""Random changes of training samples. Each is a function of a sample and a random generator that gives a new sample."""

from pipeline_lib.augment.recipe import augment, transforms_of
from pipeline_lib.augment.sample import Sample, Transform

__all__ = ["Sample", "Transform", "augment", "transforms_of"]
