"""What tests of several packages share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

# Snakemake's plugin for Slurm asks the controller at every call of snakemake, which takes nine seconds where Slurm is installed
# and its controller is not there. With this configuration its commands fail at once; tests on a cluster have one of their own.
os.environ["SLURM_CONF"] = os.devnull

# Equal to the bit is what the tests ask for, which a GPU does not promise; the tests of it have a command of their own.
TEST_GPU = bool(os.environ.get("TEST_GPU"))
if not TEST_GPU:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not TEST_GPU:
        pytest.skip("needs a GPU: make test-gpu")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real sample volumes beside the repository; the test is skipped, saying so, where it is not there."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real sample volumes are not there: {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20240607)
