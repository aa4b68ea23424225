"""What a step takes is known before the first one."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest

from pipeline_lib.artefacts import Budget
from pipeline_lib.errors import UserError
from pipeline_lib.network import network_from_settings
from pipeline_lib.settings.stages import execution_json, science_json
from pipeline_lib.training.memory import check_memory, kept_for_backward_mb
from pipeline_lib.training.train import train_segment

NETWORKS = {
    "rsunet": {"name": "rsunet", "width": [16, 32, 64]},
    "mednext": {"name": "mednext", "init_filters": 8, "deep_supervision": True},
}


def checked(settings, memory_mb, *, threads=1, on_gpu=False):
    network = network_from_settings(settings.network, in_channels=1, out_channels=3)
    return check_memory(
        network,
        settings.training,
        share=settings.training.batch_size,
        n_channels=3,
        divisor_vox=settings.network.divisor_vox,
        budget=Budget(memory_mb, threads),
        on_gpu=on_gpu,
    )


def test_a_patch_that_does_not_fit_is_refused_with_the_largest_that_does(stripes, make_settings, model_folder):
    settings = make_settings(network=NETWORKS["rsunet"], patch_vox=(64, 64, 64))
    with pytest.raises(
        UserError, match=r"training.patch_vox \[64, 64, 64\] takes \d+ MB, but the memory budget is 900 MB"
    ) as refused:
        train_segment(settings, [stripes("train")], [], model_folder, end_step=1, budget=Budget(900))
    fitting = re.search(r"the largest that fits is \[(\d+), (\d+), (\d+)\]", str(refused.value)).groups()
    checked(make_settings(network=NETWORKS["rsunet"], patch_vox=tuple(map(int, fitting))), 1000)
    assert not (model_folder / "plan.json").exists()
    with pytest.raises(UserError, match="no patch fits; give it more memory, or a smaller network"):
        checked(settings, 500)
    assert checked(settings, 3000, on_gpu=True) == 0


def test_workers_are_as_many_as_fit(make_settings, capfd):
    settings = make_settings(network=NETWORKS["rsunet"], patch_vox=(32, 32, 32), workers=3)
    found = [checked(settings, memory_mb) for memory_mb in (1000, 1400, 1900, 9000)]
    assert found == [0, 1, 2, 3]
    assert "steps of 1 x 32 x 32 x 32 voxels take" in capfd.readouterr().err


def test_a_gpu_is_fed_by_all_threads_but_one(make_settings):
    settings = make_settings(network=NETWORKS["rsunet"], patch_vox=(32, 32, 32), workers=None)
    assert [checked(settings, 50_000, threads=threads, on_gpu=True) for threads in (1, 2, 8, 64)] == [1, 1, 7, 16]
    assert checked(settings, 4_000, threads=8, on_gpu=True) == 2
    assert checked(settings, 50_000, threads=8) == 1
    asked = make_settings(network=NETWORKS["rsunet"], patch_vox=(32, 32, 32), workers=20)
    assert checked(asked, 50_000, threads=8, on_gpu=True) == 20


def test_a_worker_holds_the_whole_batch_whatever_is_computed_at_once(make_settings):
    def workers(accumulate):
        options = {"patch_vox": (64, 64, 64), "batch_size": 32, "workers": 20, "accumulate": accumulate}
        return checked(make_settings(network=NETWORKS["rsunet"], **options), 8_000, on_gpu=True)

    assert 0 < workers(1) == workers(4) < 20


def test_workers_fit_into_the_machine_where_no_memory_is_told(make_settings, monkeypatch):
    monkeypatch.setattr("pipeline_lib.training.memory.installed_memory_mb", lambda: 2_000.0)
    settings = make_settings(network=NETWORKS["rsunet"], patch_vox=(32, 32, 32), workers=9)
    assert checked(settings, math.inf) == checked(settings, 2_000) < 9
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert checked(settings, math.inf) == checked(settings, 2_000) == 0
    assert checked(settings, 4_000) > 0
    too_large = make_settings(network=NETWORKS["rsunet"], patch_vox=(256, 256, 256))
    assert checked(too_large, math.inf) == 0


def test_half_the_bytes_are_half_the_memory(make_settings):
    def kept(patches=1, **training):
        settings = make_settings(network=NETWORKS["rsunet"], patch_vox=(32, 32, 32), **training)
        network = network_from_settings(settings.network, in_channels=1, out_channels=3)
        return np.array(kept_for_backward_mb(network, settings.training, patches))

    assert kept(precision="bfloat16") == pytest.approx(kept() / 2, rel=0.02)
    assert kept(patches=2) == pytest.approx(kept() * 2, rel=0.02)
    assert (kept(precision="auto") == kept()).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_takes_what_was_said(stripes, make_settings, tmp_path, name):
    """Of the process that trains, by the system's own count."""
    settings = make_settings(network=NETWORKS[name], patch_vox=(64, 64, 64), steps=2)
    script = """
import sys
from pathlib import Path
from pipeline_lib.artefacts import Budget
from pipeline_lib.artefacts.measure import peak_memory_mb
from pipeline_lib.settings.stages import TrainStage, load_stage
from pipeline_lib.training.train import train_segment
from pipeline_lib.volumes import Volume
settings = load_stage(TrainStage, *sys.argv[1:3])
train_segment(settings, [Volume.open(Path(sys.argv[3]))], [], Path(sys.argv[4]), end_step=2, budget=Budget(20000))
print(peak_memory_mb())
"""
    volume = stripes("train", shape=(72, 72, 72))
    words = [science_json(settings), execution_json(settings), str(volume.folder), str(tmp_path / "m")]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    said_mb = float(re.search(r"voxels take (\d+) MB", done.stderr)[1])
    print(f"{name}: {float(done.stdout):.0f} MB, said {said_mb:.0f}")
    assert 0.6 * said_mb < float(done.stdout) < 1.1 * said_mb
