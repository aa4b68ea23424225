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
from small_prediction import OFFSETS, PATCH, expected_affinities, make_checkpoint, make_volume, quick_forward, read, settings
from torch import Tensor

from pipeline_lib.artefacts import Budget, Run, Step
from pipeline_lib.errors import UserError
from pipeline_lib.inference import predict_volume as predict
from pipeline_lib.inference.checkpoint import TrainedNetwork, load_trained_network
from pipeline_lib.inference.predict import Prediction
from pipeline_lib.settings.scoring import InferenceSettings
from pipeline_lib.settings.stages import PredictStage
from pipeline_lib.volumes import Volume, create_array
from pipeline_lib.volumes.affinities import open_affinities

RUN = Run(Budget(memory_mb=8000))
SHAPE = (280, 170, 20)  # 3 x 2 x 1 blocks; 17 x 10 x 2 patches, of which 8 and 3 along y meet the two columns
CALLS = 17 * (8 + 3) * 2


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainedNetwork, "forward", lambda self, **options: quick_forward)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    return make_volume(tmp_path_factory.mktemp("volumes") / "val-01234567", SHAPE)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model") / "checkpoint.ckpt")


@pytest.fixture(scope="module")
def expected(volume: Volume) -> np.ndarray:
    return expected_affinities(volume, quick_forward)


def predict_volume(settings: PredictStage, checkpoint: Path, volume: Volume, folder: Path, run: Run = RUN) -> None:
    predict(settings, checkpoint, volume, folder, run=run)


class Killed(BaseException):
    pass


def count_forwards(monkeypatch: pytest.MonkeyPatch, *, die_after: int | None = None) -> list[int]:
    """Counts the forward passes from here on; after `die_after` of them the process is as good as dead.

    That of zeros, which measures memory, is not counted.
    """
    calls: list[int] = []

    def counted(patch: Tensor) -> Tensor:
        if patch.any():
            if len(calls) == die_after:
                raise Killed
            calls.append(1)
        return quick_forward(patch)

    monkeypatch.setattr(TrainedNetwork, "forward", lambda self, **options: counted)
    return calls


def test_the_array_holds_whole_volume_blending(expected: np.ndarray, checkpoint: Path, volume: Volume, tmp_path: Path) -> None:
    predict_volume(settings(), checkpoint, volume, tmp_path)
    assert expected.std() > 20
    np.testing.assert_array_equal(read(tmp_path), expected)


def test_what_is_written_beside_the_array(checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: Any) -> None:
    calls = count_forwards(monkeypatch)
    predict_volume(settings(logit_scale=0.5), checkpoint, volume, tmp_path)
    complete = json.loads((tmp_path / "complete.json").read_text())
    assert complete["shape"] == [4, *SHAPE]
    assert complete["offsets_vox"] == [list(o) for o in OFFSETS]
    assert complete["forward_calls"] == len(calls) == CALLS
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert complete["forward_calls_whole_volume"] == 17 * 10 * 2
    assert plan["inputs"] == complete["inputs"]
    assert done(tmp_path) == list(range(6))
    affinities = open_affinities(tmp_path / "affinities.zarr" / "0")
    assert (affinities.offsets_vox, affinities.voxel_size_nm) == (OFFSETS, (30.0, 8.0, 8.0))
    assert affinities.array.attrs["logit_scale"] == 0.5


def test_the_block_size_changes_nothing(expected: np.ndarray, checkpoint: Path, volume: Volume, tmp_path: Path) -> None:
    predict_volume(settings((256, 256, 128)), checkpoint, volume, tmp_path)
    np.testing.assert_array_equal(read(tmp_path), expected)


def done(folder: Path) -> list[int]:
    """The numbers of the recorded blocks."""
    journals = [path.read_text().splitlines() for path in folder.glob("shards/*.journal")]
    return sorted(json.loads(line)["block"] for lines in journals for line in lines if line)


def test_thin_rests_join_their_neighbours(checkpoint: Path, tmp_path: Path) -> None:
    volume = make_volume(tmp_path / "v", (40, 140, 131))
    predict_volume(settings(), checkpoint, volume, tmp_path / "p")
    np.testing.assert_array_equal(read(tmp_path / "p"), expected_affinities(volume, quick_forward))
    assert done(tmp_path / "p") == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def run(checkpoint: Path, volume: Volume) -> Any:
    return lambda folder: predict_volume(settings(), checkpoint, volume, folder)


@pytest.mark.parametrize("case", [(0, 0), (100, 0), (271, 1), (272, 3), (300, 3), (CALLS - 1, 4)])
def test_a_killed_run_goes_on_and_ends_with_the_same_bits(
    expected: np.ndarray, run: Any, tmp_path: Path, monkeypatch: Any, case: tuple[int, int]
) -> None:
    die_after, n_done = case
    with monkeypatch.context() as patched:
        count_forwards(patched, die_after=die_after)
        with pytest.raises(Killed):
            run(tmp_path)
    assert not (tmp_path / "complete.json").exists()
    assert len(done(tmp_path)) == n_done
    calls = count_forwards(monkeypatch)
    run(tmp_path)
    np.testing.assert_array_equal(read(tmp_path), expected)
    # lost are at most the passes that reach one block: ten steps in z of 16 patches
    assert CALLS - die_after <= len(calls) <= CALLS - die_after + 16 * 10


def test_blocks_lost_in_the_middle_are_done_again(
    expected: np.ndarray, checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: Any
) -> None:
    predict_volume(settings(), checkpoint, volume, tmp_path)
    (tmp_path / "complete.json").unlink()
    shard = next(p for p in (tmp_path / "affinities.zarr" / "0").rglob("c/0/1/0/*"))  # second block in z of the first column
    shard.write_bytes(shard.read_bytes()[:500])
    calls = count_forwards(monkeypatch)
    predict_volume(settings(), checkpoint, volume, tmp_path)
    np.testing.assert_array_equal(read(tmp_path), expected)
    assert len(calls) == 10 * 8 * 2  # patches that meet planes 128 to 255


def test_a_torn_shard_whose_block_is_all_zero_is_repaired(checkpoint: Path, tmp_path: Path, monkeypatch: Any) -> None:
    volume = make_volume(tmp_path / "v", (30, 40, 20))
    predict_volume(settings(), checkpoint, volume, tmp_path / "p")
    (tmp_path / "p" / "complete.json").unlink()
    shard = tmp_path / "p" / "affinities.zarr" / "0" / "c" / "0" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:500])
    zeros = torch.zeros((1, 4, *PATCH))
    monkeypatch.setattr(TrainedNetwork, "forward", lambda self, **options: lambda patch: zeros)
    predict_volume(settings(), checkpoint, volume, tmp_path / "p")
    assert not read(tmp_path / "p").any()


def test_a_complete_prediction_is_left_alone(checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: Any) -> None:
    predict_volume(settings(), checkpoint, volume, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    calls = count_forwards(monkeypatch)
    predict_volume(settings(), checkpoint, volume, tmp_path)
    predict_volume(settings((256, 128, 128)), checkpoint, volume, tmp_path)  # how, not what
    assert calls == []
    del before[tmp_path / ".lock"]
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.name != ".lock"} == before


def test_whatever_decides_the_result_starts_anew(checkpoint: Path, tmp_path: Path, monkeypatch: Any) -> None:
    volume = make_volume(tmp_path / "v-1", (30, 40, 20))
    folder = tmp_path / "p"
    other_weights = tmp_path / "other.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "step": 11}, other_weights)
    other_volume = replace(volume, content="0123456789abcdef")
    calls = count_forwards(monkeypatch)
    variants = [
        (settings(), checkpoint, volume),
        (settings(logit_scale=0.3), checkpoint, volume),
        (settings(), other_weights, volume),
        (settings(), checkpoint, other_volume),
    ]
    for stage, weights, source in variants:
        calls.clear()
        predict_volume(stage, weights, source, folder)
        assert len(calls) == 1 * 2 * 2


def test_an_unfinished_run_with_another_block_starts_anew(
    expected: np.ndarray, checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: Any
) -> None:
    with monkeypatch.context() as patched:
        count_forwards(patched, die_after=350)
        with pytest.raises(Killed):
            predict_volume(settings(), checkpoint, volume, tmp_path)
    predict_volume(settings((128, 256, 128)), checkpoint, volume, tmp_path)
    np.testing.assert_array_equal(read(tmp_path), expected)
    assert done(tmp_path) == [0, 1, 2]


def test_an_array_that_was_deleted_is_made_again(checkpoint: Path, tmp_path: Path) -> None:
    volume = make_volume(tmp_path / "v", (30, 40, 20))
    predict_volume(settings(), checkpoint, volume, tmp_path / "p")
    expected = read(tmp_path / "p")
    shutil.rmtree(tmp_path / "p" / "affinities.zarr")
    predict_volume(settings(), checkpoint, volume, tmp_path / "p")
    np.testing.assert_array_equal(read(tmp_path / "p"), expected)


SLOW_RUN = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from small_prediction import quick_forward
from pipeline_lib.artefacts import Budget, Run
from pipeline_lib.inference import predict_volume
from pipeline_lib.inference.checkpoint import TrainedNetwork, load_trained_network
from pipeline_lib.settings.stages import PredictStage
from pipeline_lib.volumes import Volume

TrainedNetwork.forward = lambda self, **options: lambda patch: (time.sleep(0.01), quick_forward(patch))[1]
settings, checkpoint, volume, folder = sys.argv[2:]
run = Run(Budget(memory_mb=8000))
predict_volume(PredictStage.model_validate_json(settings), Path(checkpoint), Volume.open(Path(volume)), Path(folder), run=run)
"""


def test_sigkill(expected: np.ndarray, checkpoint: Path, volume: Volume, tmp_path: Path) -> None:
    arguments = [str(Path(__file__).parent), settings().model_dump_json(), str(checkpoint), str(volume.folder), str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-c", SLOW_RUN, *arguments], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(done(tmp_path)) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    _, log = process.communicate()
    assert process.returncode == -signal.SIGKILL, log.decode()
    assert 2 <= len(done(tmp_path)) < 6
    assert not (tmp_path / "complete.json").exists()
    predict_volume(settings(), checkpoint, volume, tmp_path)
    np.testing.assert_array_equal(read(tmp_path), expected)


def test_progress_goes_to_stderr(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = make_volume(tmp_path / "v", (30, 40, 20))
    predict_volume(settings(), checkpoint, volume, tmp_path / "p")
    seen = capsys.readouterr()
    assert seen.out == ""
    assert "predict val: 100%" in seen.err
    assert "4/4" in seen.err


def test_a_patch_that_the_network_does_not_accept(checkpoint: Path, volume: Volume, tmp_path: Path) -> None:
    stage = PredictStage(inference=InferenceSettings(), patch_vox=(32, 33, 16))
    with pytest.raises(UserError, match=r"inference: patch_vox \(32, 33, 16\) is not accepted by rsunet"):
        predict_volume(stage, checkpoint, volume, tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_an_image_of_another_type(checkpoint: Path, tmp_path: Path) -> None:
    volume = make_volume(tmp_path / "v", (30, 40, 20))
    create_array(tmp_path / "v" / volume.image_path, (30, 40, 20), "uint16", attributes={})
    with pytest.raises(UserError, match=r"image.zarr/0: expected an image of uint8, got uint16; import the volume again"):
        predict_volume(settings(), checkpoint, volume, tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_nan_is_reported_and_nothing_is_complete(checkpoint: Path, tmp_path: Path, monkeypatch: Any) -> None:
    volume = make_volume(tmp_path / "v", (30, 40, 20))
    nan = torch.full((1, 4, *PATCH), torch.nan)
    monkeypatch.setattr(TrainedNetwork, "forward", lambda self, **options: lambda patch: nan)
    with pytest.raises(UserError, match="the network gives NaN in planes 0 to 29"):
        predict_volume(settings(), checkpoint, volume, tmp_path / "p")
    assert not (tmp_path / "p" / "complete.json").exists()


def test_a_folder_that_cannot_be_written(checkpoint: Path, volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        predict_volume(settings(), checkpoint, volume, tmp_path / "file" / "p")


def test_a_block_larger_than_the_memory(checkpoint: Path, volume: Volume, tmp_path: Path) -> None:
    small = Run(Budget(memory_mb=657), Step("plan"))
    message = r"inference.block_vox \[256, 256, 128\] takes 659 MB, but the memory budget is 657 MB; the largest that fits is "
    with pytest.raises(UserError, match=message + r"\[128, 256, 128\]"):
        predict_volume(settings((256, 256, 128)), checkpoint, volume, tmp_path / "p", small)
    assert [path.name for path in (tmp_path / "p").iterdir()] == [".lock"]


def test_a_complete_prediction_needs_no_memory(
    checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_volume(settings(), checkpoint, volume, tmp_path)
    calls = count_forwards(monkeypatch)
    for text in ("plan", "all", "0/1", "finish/1"):
        predict_volume(settings(), checkpoint, volume, tmp_path, Run(Budget(memory_mb=1), Step.parse(text)))
    assert calls == []


def test_the_memory_of_the_network_counts(checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: Any) -> None:
    """One that holds 400 MB beside its patch."""

    def large(patch: Tensor) -> Tensor:
        return quick_forward(patch) + torch.ones(100_000_000)[0] - 1

    monkeypatch.setattr(TrainedNetwork, "forward", lambda self, **options: large)
    small = Run(Budget(memory_mb=900))
    message = (
        r"with (39|4\d)\d MB for the network at patch_vox \[32, 32, 16\], inference.block_vox \[256, 256, 128\] takes "
        r"1\d\d\d MB, but the memory budget is 900 MB; no multiple of \[128, 128, 128\] fits; give it more memory, or a "
        r"smaller inference.patch_vox"
    )
    with pytest.raises(UserError, match=message):
        predict_volume(settings((256, 256, 128)), checkpoint, volume, tmp_path / "p", small)
    assert [path.name for path in (tmp_path / "p").iterdir()] == [".lock"]
    predict_volume(settings((256, 256, 128)), checkpoint, volume, tmp_path / "p", Run(Budget(900), Step("plan")))


def test_on_a_gpu_the_network_takes_no_main_memory(checkpoint: Path, volume: Volume, tmp_path: Path) -> None:
    network = load_trained_network(checkpoint)
    assert Prediction(settings(), checkpoint, network, volume, tmp_path, device="cuda").network_mb() == 0


def test_jobs_have_columns_of_their_own(
    expected: np.ndarray, checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: Any
) -> None:
    def step(text: str) -> int:
        calls = count_forwards(monkeypatch)
        predict_volume(settings(), checkpoint, volume, tmp_path, Run(RUN.budget, Step.parse(text)))
        return len(calls)

    assert step("plan") == 0
    assert step("1/2") == 17 * 3 * 2
    assert step("0/2") == 17 * 8 * 2
    assert step("finish/2") == 0
    np.testing.assert_array_equal(read(tmp_path), expected)


def test_a_checkpoint_that_is_replaced_between_jobs_is_named(
    checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: Any
) -> None:
    own = shutil.copy(checkpoint, tmp_path / "own.ckpt")
    folder = tmp_path / "p"
    predict_volume(settings(), own, volume, folder, Run(RUN.budget, Step.parse("plan")))
    predict_volume(settings(), own, volume, folder, Run(RUN.budget, Step.parse("0/2")))
    torch.save({**torch.load(own, weights_only=True), "step": 12}, own)
    for text in ("1/2", "finish/2"):
        with pytest.raises(UserError, match="predict val: the checkpoint has changed since it was planned"):
            predict_volume(settings(), own, volume, folder, Run(RUN.budget, Step.parse(text)))


def test_an_image_in_place_that_is_edited_is_named(checkpoint: Path, tmp_path: Path) -> None:
    source = create_array(tmp_path / "source.zarr", (30, 40, 20), "uint8", attributes={})
    source[:] = 7
    folder = tmp_path / "v"
    volume = Volume(folder, "val", (30, 40, 20), (30.0, 8.0, 8.0), image_path=str(tmp_path / "source.zarr")).save()
    os.utime(next((tmp_path / "source.zarr").rglob("c/0/0/0")), (1, 1))  # touched, not changed
    predict_volume(settings(), checkpoint, Volume.open(folder), tmp_path / "p")
    source[3, 4, 5] = 8
    with pytest.raises(UserError, match=r"volume val: the image .*source.zarr has changed since it was imported"):
        predict_volume(settings(), checkpoint, volume, tmp_path / "p")
    assert not (folder / "volume.json").exists(), "the workflow would not import it again"


def test_a_checkpoint_that_is_replaced_while_it_is_used_is_named(
    checkpoint: Path, volume: Volume, tmp_path: Path, monkeypatch: Any
) -> None:
    own = shutil.copy(checkpoint, tmp_path / "own.ckpt")

    def read_and_replaced(path: Path) -> TrainedNetwork:
        network = load_trained_network(path)
        torch.save({**torch.load(own, weights_only=True), "step": 12}, own)
        return network

    monkeypatch.setattr("pipeline_lib.inference.predict.load_trained_network", read_and_replaced)
    with pytest.raises(UserError, match=r"predict val: the checkpoint .*own.ckpt was replaced while it was used; run"):
        predict_volume(settings(), own, volume, tmp_path / "p")
    assert not list((tmp_path / "p").glob("*.json"))
