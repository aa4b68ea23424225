"""Small sweeps on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from fake_sweep import VOLUMES, FakeRun, FakeVolume, write_sweep

from pipeline_lib.report import ComparedRun


@pytest.fixture
def sweep_on_disk(tmp_path: Path) -> Callable[..., list[ComparedRun]]:
    """Writes the runs that it is given; called twice it writes over what was there."""

    def write(runs: Sequence[FakeRun], volumes: Sequence[FakeVolume] = VOLUMES) -> list[ComparedRun]:
        return write_sweep(tmp_path / "results", runs, volumes)

    return write
