"""Whether two runs of a workflow ended with the same result."""

import json

import numpy as np
import torch

from pipeline_lib.training.checkpoint import load_checkpoint
from pipeline_lib.volumes import open_array


def assert_same_result(one, other):
    """Weights, affinities, segmentations, curves, choices and scores, all of them, to the bit."""
    for read in (_weights, _arrays, _texts):
        first, second = read(one.results()), read(other.results())
        assert first
        assert first.keys() == second.keys()
        for name, value in first.items():
            assert _equal(value, second[name]), name


def _weights(results):
    found = {p.relative_to(results): load_checkpoint(p) for p in results.glob("models/*/segments/*/checkpoint.ckpt")}
    return {name: {**content["state_dict"], **content["random"]} for name, content in found.items()}


def _arrays(results):
    found = [*results.glob("predictions/*/*/affinities.zarr/0"), *results.glob("segmentations/*/*/segmentation.zarr/0")]
    return {path.relative_to(results): open_array(path)[:] for path in found}


def _texts(results):
    paths = [path for name in ("curve.json", "choice.json", "metrics.json") for path in results.rglob(name)]
    return {
        **{path.relative_to(results): json.loads(path.read_text()) for path in paths},
        **{path.relative_to(results): path.read_text() for path in results.rglob("*.csv") if path.name != "metrics.csv"},
    }


def _equal(one, other):
    if isinstance(one, dict) and any(isinstance(value, torch.Tensor) for value in one.values()):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other
