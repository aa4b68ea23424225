import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline_lib.errors import UserError
from pipeline_lib.inference import predict_volume
from pipeline_lib.inference.blending import blend_whole
from pipeline_lib.inference.checkpoint import TrainedNetwork, load_trained_network
from pipeline_lib.inference.flips import average_flips
from pipeline_lib.network import build_network
from pipeline_lib.settings.learning import TargetSettings
from pipeline_lib.settings.networks import ResidualSymmetricUNet
from pipeline_lib.settings.scoring import InferenceSettings
from pipeline_lib.settings.stages import PredictStage
from pipeline_lib.volumes import Volume, create_array
from pipeline_lib.volumes.affinities import open_affinities

PATCH = (32, 32, 16)
SHAPE = (280, 170, 20)  # 3 x 2 x 1 blocks; 17 x 10 x 2 patches, 8 and 3 along y meet the two columns
CALLS = 17 * (8 + 3) * 2
OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (4, 0, -3))
SPEC = ResidualSymmetricUNet(width=(2, 3), input_kernel=(1, 3, 3), output_kernel=(1, 1, 1))


def settings(block: tuple[int, int, int] = (128, 128, 128), **inference: Any) -> PredictStage:
    return PredictStage(inference=InferenceSettings(block_vox=block, **inference), patch_vox=PATCH)


def make_volume(folder: Path, shape: tuple[int, int, int] = SHAPE) -> Volume:
    image = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    volume = Volume(folder, "val", shape, (30.0, 8.0, 8.0))
    create_array(folder / volume.image_path, shape, "uint8", attributes={})[:] = image
    volume.save()
    return volume


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    return make_volume(tmp_path_factory.mktemp("volumes") / "val-01234567")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    module = build_network("rsunet", in_channels=1, out_channels=4, **SPEC.model_dump(exclude={"name"}))
    targets = TargetSettings(offsets_vox=OFFSETS).model_dump(mode="json")
    path = tmp_path_factory.mktemp("model") / "checkpoint.ckpt"
    content = {"network": SPEC.model_dump(mode="json"), "targets": targets, "state_dict": module.state_dict()}
    torch.save({**content, "in_channels": 1, "precision": "float32", "step": 10}, path)
    return path


def quick_forward(patch: Tensor) -> Tensor:
    """In place of a network: four channels that depend on the image and on the place in the patch."""
    place = torch.linspace(0, 1, PATCH[0])[:, None, None] * torch.linspace(0.3, 1, PATCH[1])[:, None]
    return torch.cat([(patch + shift * place).remainder(1) for shift in (0, 0.3, 0.6, 0.9)], dim=1)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    torch.set_num_threads(1)
    if "real_network" not in request.keywords:
        monkeypatch.setattr(TrainedNetwork, "forward", lambda self, **options: quick_forward)


real_network = pytest.mark.usefixtures()


@pytest.fixture
def undisturbed(volume: Volume) -> np.ndarray:
    return expected_affinities(volume, quick_forward)


def read(folder: Path) -> np.ndarray:
    return open_affinities(folder / "affinities.zarr" / "0").array[:]


def expected_affinities(checkpoint: Path, volume: Volume, *, flips: bool = False) -> np.ndarray:
    forward = load_trained_network(checkpoint).forward(logit_scale=0.2)
    forward = average_flips(forward, OFFSETS) if flips else forward
    whole = blend_whole(volume.image()[:], forward, patch_vox=PATCH, n_channels=4)
    for channel, offset in enumerate(OFFSETS):
        for v in range(3):
            size, step = volume.shape_vox[v], offset[v]
            out = slice(size - step, size) if step > 0 else slice(0, -step)
            np.moveaxis(whole[channel], v, 0)[out] = 0
    return np.rint(255 * whole.astype(np.float64)).astype(np.uint8)


class Killed(BaseException):
    pass


def count_forwards(monkeypatch: pytest.MonkeyPatch, *, die_after: int | None = None) -> list[int]:
    """Counts the forward passes from here on; `die_after` so many, the process is as good as dead."""
    calls: list[int] = []
    original = TrainedNetwork.forward

    def forward(self: TrainedNetwork, **options: Any) -> Any:
        run = original(self, **options)

        def counted(patch: Tensor) -> Tensor:
            if len(calls) == die_after:
                raise Killed
            calls.append(1)
            return run(patch)

        return counted

    monkeypatch.setattr(TrainedNetwork, "forward", forward)
    return calls


def test_the_array_holds_whole_volume_blending(undisturbed: np.ndarray, checkpoint: Path, volume: Volume) -> None:
    expected = expected_affinities(checkpoint, volume)
    assert 20 < undisturbed.std()
    np.testing.assert_array_equal(undisturbed, expected)


def test_what_is_written_beside_the_array(checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: Any) -> None:
    calls = count_forwards(monkeypatch)
    predict_volume(settings(logit_scale=0.5), checkpoint, volume, tmp_path, threads=1)
    complete = json.loads((tmp_path / "complete.json").read_text())
    assert complete["shape"] == [4, *SHAPE]
    assert complete["offsets_vox"] == [list(o) for o in OFFSETS]
    # 17 patches along z, 2 along x; along y 10 and two of them for both columns
    assert complete["forward_calls"] == len(calls) == 17 * (8 + 4) * 2
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["forward_calls_whole_volume"] == 17 * 10 * 2
    assert plan["digest"] == complete["digest"]
    assert sorted(p.name for p in (tmp_path / "shards").iterdir()) == [f"{i}.json" for i in range(6)]
    affinities = open_affinities(tmp_path / "affinities.zarr" / "0")
    assert (affinities.offsets_vox, affinities.voxel_size_nm) == (OFFSETS, (30.0, 8.0, 8.0))
    assert affinities.array.attrs["logit_scale"] == 0.5


def test_flips_are_averaged_on_demand(checkpoint: Path, tmp_path: Path) -> None:
    volume = make_volume(tmp_path / "small", (30, 40, 20))
    predict_volume(settings(test_time_flips=True), checkpoint, volume, tmp_path / "p", threads=1)
    expected = expected_affinities(checkpoint, volume, flips=True)
    assert (expected != expected_affinities(checkpoint, volume)).mean() > 0.1
    np.testing.assert_array_equal(read(tmp_path / "p"), expected)


def test_a_volume_smaller_than_the_patch(checkpoint: Path, tmp_path: Path) -> None:
    volume = make_volume(tmp_path / "small", (5, 40, 9))
    predict_volume(settings(), checkpoint, volume, tmp_path / "p", threads=1)
    np.testing.assert_array_equal(read(tmp_path / "p"), expected_affinities(checkpoint, volume))


def test_the_block_size_changes_nothing(undisturbed: np.ndarray, checkpoint: Path, volume: Volume, tmp_path: Path) -> None:
    predict_volume(settings((256, 256, 128)), checkpoint, volume, tmp_path, threads=1)
    np.testing.assert_array_equal(read(tmp_path), undisturbed)


def test_thin_rests_join_their_neighbours(checkpoint: Path, tmp_path: Path) -> None:
    volume = make_volume(tmp_path / "v", (40, 140, 131))
    predict_volume(settings(), checkpoint, volume, tmp_path / "p", threads=1)
    np.testing.assert_array_equal(read(tmp_path / "p"), expected_affinities(checkpoint, volume))
    assert len(list((tmp_path / "p" / "shards").iterdir())) == 4


@pytest.mark.parametrize("die_after", [0, 100, 203, 204, 300, 403])
def test_a_killed_run_goes_on_and_ends_with_the_same_bits(
    undisturbed: np.ndarray, checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: Any, die_after: int
) -> None:
    with monkeypatch.context() as patched:
        count_forwards(patched, die_after=die_after)
        with pytest.raises(Killed):
            predict_volume(settings(), checkpoint, volume, tmp_path, threads=1)
    assert not (tmp_path / "complete.json").exists()
    done = len(list((tmp_path / "shards").glob("*.json"))) if die_after else 0
    calls = count_forwards(monkeypatch)
    predict_volume(settings(), checkpoint, volume, tmp_path, threads=1)
    np.testing.assert_array_equal(read(tmp_path), undisturbed)
    # of 16 and 8 patches per step in z: what was computed beyond the last finished block, and one patch length before it
    assert len(calls) <= 408 - die_after + 16 * (8 + 2)
    assert len(calls) < 408 or done == 0


def test_blocks_lost_in_the_middle_are_done_again(
    undisturbed: np.ndarray, checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: Any
) -> None:
    predict_volume(settings(), checkpoint, volume, tmp_path, threads=1)
    (tmp_path / "complete.json").unlink()
    (tmp_path / "shards" / "2.json").write_text("torn {")
    shard = next(p for p in (tmp_path / "affinities.zarr" / "0").rglob("c/0/1/0/*"))  # block 2: second in z, first in y
    shard.write_bytes(shard.read_bytes()[:500])
    calls = count_forwards(monkeypatch)
    predict_volume(settings(), checkpoint, volume, tmp_path, threads=1)
    np.testing.assert_array_equal(read(tmp_path), undisturbed)
    assert len(calls) == 9 * 8 * 2  # patches that meet planes 128 to 255


def test_a_torn_shard_whose_block_is_all_zero_is_repaired(checkpoint: Path, tmp_path: Path, monkeypatch: Any) -> None:
    volume = make_volume(tmp_path / "v", (30, 40, 20))
    predict_volume(settings(), checkpoint, volume, tmp_path / "p", threads=1)
    (tmp_path / "p" / "complete.json").unlink()
    (tmp_path / "p" / "shards" / "0.json").unlink()
    monkeypatch.setattr(TrainedNetwork, "forward", lambda self, **options: lambda patch: torch.zeros((1, 4, *PATCH)))
    predict_volume(settings(), checkpoint, volume, tmp_path / "p", threads=1)
    assert not read(tmp_path / "p").any()


def test_a_complete_prediction_is_left_alone(checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: Any) -> None:
    predict_volume(settings(), checkpoint, volume, tmp_path, threads=1)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    calls = count_forwards(monkeypatch)
    predict_volume(settings(), checkpoint, volume, tmp_path, threads=1)
    predict_volume(settings((256, 128, 128)), checkpoint, volume, tmp_path, threads=1)  # how, not what
    assert calls == []
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_whatever_decides_the_result_starts_anew(checkpoint: Path, tmp_path: Path, monkeypatch: Any) -> None:
    volume = make_volume(tmp_path / "v-1", (30, 40, 20))
    folder = tmp_path / "p"
    other_weights = tmp_path / "other.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "step": 11}, other_weights)
    other_volume = replace(volume, source="elsewhere")
    calls = count_forwards(monkeypatch)
    variants = [
        (settings(), checkpoint, volume),
        (settings(logit_scale=0.3), checkpoint, volume),
        (settings(), other_weights, volume),
        (settings(), checkpoint, other_volume),
    ]
    for stage, weights, source in variants:
        calls.clear()
        predict_volume(stage, weights, source, folder, threads=1)
        assert len(calls) == 2 * 3 * 2 - 2 * 3 * 1


def test_an_unfinished_run_with_another_block_starts_anew(
    undisturbed: np.ndarray, checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: Any
) -> None:
    with monkeypatch.context() as patched:
        count_forwards(patched, die_after=350)
        with pytest.raises(Killed):
            predict_volume(settings(), checkpoint, volume, tmp_path, threads=1)
    predict_volume(settings((128, 256, 128)), checkpoint, volume, tmp_path, threads=1)
    np.testing.assert_array_equal(read(tmp_path), undisturbed)
    assert len(list((tmp_path / "shards").iterdir())) == 3


def test_an_array_that_was_deleted_is_made_again(checkpoint: Path, tmp_path: Path) -> None:
    volume = make_volume(tmp_path / "v", (30, 40, 20))
    predict_volume(settings(), checkpoint, volume, tmp_path / "p", threads=1)
    expected = read(tmp_path / "p")
    shutil.rmtree(tmp_path / "p" / "affinities.zarr")
    predict_volume(settings(), checkpoint, volume, tmp_path / "p", threads=1)
    np.testing.assert_array_equal(read(tmp_path / "p"), expected)


SLOW_RUN = """
import sys, time
from pathlib import Path
from pipeline_lib.inference import predict_volume
from pipeline_lib.inference.checkpoint import TrainedNetwork
from pipeline_lib.settings.stages import PredictStage
from pipeline_lib.volumes import Volume

original = TrainedNetwork.forward
def forward(self, **options):
    run = original(self, **options)
    return lambda patch: (time.sleep(0.01), run(patch))[1]
TrainedNetwork.forward = forward
settings, checkpoint, volume, folder = sys.argv[1:]
predict_volume(PredictStage.model_validate_json(settings), Path(checkpoint), Volume.open(Path(volume)), Path(folder), threads=1)
"""


def test_sigkill(undisturbed: np.ndarray, checkpoint: Path, volume: Volume, tmp_path: Path) -> None:
    arguments = [settings().model_dump_json(), str(checkpoint), str(volume.folder), str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-c", SLOW_RUN, *arguments], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "shards").glob("*.json"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    _, log = process.communicate()
    assert process.returncode == -signal.SIGKILL, log.decode()
    assert 2 <= len(list((tmp_path / "shards").glob("*.json"))) < 6
    assert not (tmp_path / "complete.json").exists()
    predict_volume(settings(), checkpoint, volume, tmp_path, threads=1)
    np.testing.assert_array_equal(read(tmp_path), undisturbed)


def test_progress_goes_to_stderr(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = make_volume(tmp_path / "v", (30, 40, 20))
    predict_volume(settings(), checkpoint, volume, tmp_path / "p", threads=1)
    seen = capsys.readouterr()
    assert seen.out == ""
    assert "predict val: 100%" in seen.err
    assert "6/6" in seen.err


def test_a_patch_that_the_network_does_not_accept(checkpoint: Path, volume: Volume, tmp_path: Path) -> None:
    stage = PredictStage(inference=InferenceSettings(), patch_vox=(32, 33, 16))
    with pytest.raises(UserError, match=r"inference: patch_vox \(32, 33, 16\) is not accepted by rsunet"):
        predict_volume(stage, checkpoint, volume, tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_an_image_that_is_not_what_the_volume_says(checkpoint: Path, volume: Volume, tmp_path: Path) -> None:
    wrong = replace(volume, shape_vox=(280, 170, 21))
    with pytest.raises(UserError, match=r"expected uint8 of shape \[280, 170, 21\], got uint8 of shape \[280, 170, 20\]"):
        predict_volume(settings(), checkpoint, wrong, tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_nan_is_reported_and_nothing_is_complete(checkpoint: Path, tmp_path: Path, monkeypatch: Any) -> None:
    volume = make_volume(tmp_path / "v", (30, 40, 20))
    nan = torch.full((1, 4, *PATCH), torch.nan)
    monkeypatch.setattr(TrainedNetwork, "forward", lambda self, **options: lambda patch: nan)
    with pytest.raises(UserError, match="the network gives NaN"):
        predict_volume(settings(), checkpoint, volume, tmp_path / "p")
    assert not (tmp_path / "p" / "complete.json").exists()


def test_a_folder_that_cannot_be_written(checkpoint: Path, volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        predict_volume(settings(), checkpoint, volume, tmp_path / "file" / "p")


def test_a_block_larger_than_the_memory(checkpoint: Path, tmp_path: Path, monkeypatch: Any) -> None:
    volume = make_volume(tmp_path / "v", (30, 40, 20))
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    with pytest.raises(UserError, match=r"inference.block_vox \[128, 128, 128\] takes 1 MB, this machine has 0 MB; make the block"):
        predict_volume(settings(), checkpoint, volume, tmp_path / "p")
