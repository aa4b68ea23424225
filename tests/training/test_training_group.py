"""Shares of a batch, computed by processes or in parts, give the step that one process takes with the whole."""

import os
import socket
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from pipeline_lib.errors import UserError
from pipeline_lib.settings.stages import execution_json, science_json
from pipeline_lib.training import train as train_module
from pipeline_lib.training.checkpoint import load_checkpoint
from pipeline_lib.training.data import BatchStream
from pipeline_lib.training.group import Group
from pipeline_lib.training.loss import masked_bce, valid_counts
from pipeline_lib.training.train import train_segment

NETWORK = {
    "name": "rsunet",
    "width": [4, 8],
    "input_kernel": [1, 3, 3],
    "output_kernel": [1, 3, 3],
    "normalisation": "instance",
}
WITH_BATCH_NORM = {**NETWORK, "normalisation": "batch"}
DEEP = {"name": "mednext", "init_filters": 2, "block_counts": [1] * 9, "expansion_ratios": 1, "deep_supervision": True}

SCRIPT = """
import os, signal, sys
from pathlib import Path
from pipeline_lib.errors import UserError
from pipeline_lib.settings.stages import TrainStage, load_stage
from pipeline_lib.training.interruption import StopRequest
from pipeline_lib.training.train import train_segment
from pipeline_lib.volumes import Volume

science, execution, train, model, end, processes = sys.argv[1:7]
settings = load_stage(TrainStage, science, execution)
with StopRequest() as stop:
    if os.environ.get("STOPPED_RANK") == os.environ["RANK"]:
        os.kill(os.getpid(), signal.SIGUSR2)
    try:
        volumes = [Volume.open(Path(train))], []
        train_segment(settings, *volumes, Path(model), end_step=int(end), processes=int(processes), stop=stop)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
"""


def together(settings, volume, model_folder, end_step, *, processes=2, **environment):
    """Train in two processes; their last words and exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [science_json(settings), execution_json(settings), str(volume.folder), str(model_folder), str(end_step)]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1", **environment}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *words, str(processes)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=200)[1] for process in started]
    return told, [process.returncode for process in started]


@pytest.fixture
def unevenly_labelled(make_volume):
    """Patches of very different numbers of valid entries: a mean of means is not the mean."""

    def make(name="train"):
        shape = (20, 24, 28)
        rng = np.random.default_rng(0)
        labels = (np.indices(shape)[1] // 6 + 1).astype(np.uint32)
        mask = (rng.random(shape) < np.linspace(0.05, 1, shape[2])).astype(np.uint8)
        return make_volume(name, rng.integers(0, 256, shape).astype(np.uint8), labels, mask)

    return make


def checkpoint_of(folder, step):
    return load_checkpoint(folder / "segments" / str(step) / "checkpoint.ckpt")


def assert_close(first, second, tolerance=1e-3):
    """To what sums in another order differ by. Adam makes whole steps of gradients that are 0 but for rounding."""
    assert first["step"] == second["step"]
    for vector in (weights_of, momentum_of):
        a, b = vector(first), vector(second)
        assert torch.linalg.norm(a - b) < tolerance * torch.linalg.norm(b)
    losses = [[row[2] for row in checkpoint["log"]["rows"]] for checkpoint in (first, second)]
    np.testing.assert_allclose(*losses, rtol=tolerance)


def weights_of(checkpoint):
    return torch.cat([tensor.flatten() for tensor in checkpoint["state_dict"].values()])


def momentum_of(checkpoint):
    """A mean of the gradients of the last steps."""
    return torch.cat([state["exp_avg"].flatten() for state in checkpoint["optimizer"]["state"].values()])


@pytest.mark.slow
def test_two_processes_train_as_one_does_also_after_a_stop_that_only_one_heard_of(unevenly_labelled, make_settings, tmp_path):
    volume = unevenly_labelled()
    settings = make_settings(network=NETWORK, batch_size=4, steps=8, learning_rate=1e-3)
    train_segment(settings, [volume], [], tmp_path / "one", end_step=8)
    told, codes = together(settings, volume, tmp_path / "two", 8, STOPPED_RANK="1")
    assert codes == [2, 2], "".join(told)
    for words in told:
        assert "training was interrupted by the time limit at step 1 of 8 and is saved" in words
    told, codes = together(settings, volume, tmp_path / "two", 8)
    assert codes == [0, 0], "".join(told)
    assert "continuing at step 1" in told[0]
    one, two = checkpoint_of(tmp_path / "one", 8), checkpoint_of(tmp_path / "two", 8)
    assert_close(two, one)
    told, codes = together(settings, volume, tmp_path / "undisturbed", 8)
    torch.testing.assert_close(two["state_dict"], checkpoint_of(tmp_path / "undisturbed", 8)["state_dict"], rtol=0, atol=0)


@pytest.mark.parametrize("network", [NETWORK, DEEP], ids=["rsunet", "deep"])
def test_a_batch_in_parts_trains_as_the_whole_does(unevenly_labelled, make_settings, tmp_path, network):
    volume = unevenly_labelled()
    options = {"network": network, "batch_size": 4, "steps": 3, "learning_rate": 1e-3}
    if network is DEEP:
        options |= {"patch_vox": (16, 16, 32)}
    train_segment(make_settings(**options), [volume], [], tmp_path / "whole", end_step=3)
    train_segment(make_settings(**options, accumulate=4), [volume], [], tmp_path / "parts", end_step=3)
    assert_close(checkpoint_of(tmp_path / "parts", 3), checkpoint_of(tmp_path / "whole", 3))


def test_losses_of_parts_add_up_to_that_of_the_batch():
    rng = torch.Generator().manual_seed(0)
    output = [torch.randn((4, 3, *size), generator=rng) for size in ((8, 8, 8), (4, 4, 4))]
    target = torch.rand((4, 3, 8, 8, 8), generator=rng) < 0.5
    valid = torch.rand((4, 3, 8, 8, 8), generator=rng) < torch.tensor([0.02, 0.3, 0.6, 1]).reshape(4, 1, 1, 1, 1)
    whole = masked_bce(output, target, valid)
    counts = valid_counts(output, valid)
    parts = [masked_bce([level[i : i + 1] for level in output], target[i : i + 1], valid[i : i + 1], counts) for i in range(4)]
    torch.testing.assert_close(sum(parts), whole)
    means = [masked_bce([level[i : i + 1] for level in output], target[i : i + 1], valid[i : i + 1]) for i in range(4)]
    assert abs(sum(means) / 4 - whole) > 1e-3


def test_each_process_has_its_share_of_every_batch():
    class Indices:
        def __getitem__(self, index):
            return tuple(np.array([index]) for _ in range(3))

    def indices(group):
        stream = BatchStream(Indices(), batch_size=4, start_step=3, end_step=5, workers=0, group=group)
        return [batch.image.flatten().tolist() for batch in stream]

    assert indices(Group()) == [[12, 13, 14, 15], [16, 17, 18, 19]]
    assert [indices(Group(rank, 2)) for rank in range(2)] == [[[12, 13], [16, 17]], [[14, 15], [18, 19]]]


@pytest.mark.slow
def test_other_processes_than_asked_for_are_refused_before_the_first_step(stripes, make_settings, tmp_path):
    told, codes = together(make_settings(network=NETWORK), stripes("train"), tmp_path / "m", 12, processes=3)
    assert codes == [2, 2]
    assert "training was to run in 3 processes, but 2 were started (WORLD_SIZE)" in told[0]
    assert not (tmp_path / "m").exists()


def test_one_process_where_several_were_asked_for_is_refused(stripes, make_settings, model_folder, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(UserError, match=r"was to run in 2 processes, but 1 were started.*set the launcher to submitit"):
        train_segment(make_settings(), [stripes("train")], [], model_folder, end_step=12, processes=2)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"batch_size": 3}, "training.batch_size is 3, which 2 processes cannot share evenly: make it a multiple of 2"),
        ({"batch_size": 2, "accumulate": 2}, "training.accumulate is 2, but a process has 1 patches of each batch"),
    ],
)
def test_what_processes_cannot_share_is_refused(make_settings, training, message):
    with pytest.raises(UserError, match=message):
        train_module._check_shares(make_settings(**training).training, Group(0, 2))


def test_batch_norm_of_processes_without_gpus_is_refused(make_settings):
    with pytest.raises(UserError, match="processes without GPUs cannot share batch normalisation"):
        train_module._network(make_settings(network=WITH_BATCH_NORM), None, group=Group(0, 2), device=torch.device("cpu"))


def test_batch_norm_is_shared_after_the_first_process_has_probed_alone(make_settings):
    group, device = Group(0, 2), torch.device("cuda")

    def kinds(network):
        return {type(part) for part in network.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)}

    network = train_module._network(make_settings(network=WITH_BATCH_NORM), None, group=group, device=device)
    assert kinds(network) == {torch.nn.BatchNorm3d}
    assert kinds(train_module._shared(network, group)) == {torch.nn.SyncBatchNorm}


def test_processes_that_see_different_states_are_refused(monkeypatch):
    monkeypatch.setattr(Group, "most", lambda self, value, device: max(value, 40.0 if value >= 0 else -30.0))
    with pytest.raises(UserError, match="the processes see different states, of steps 30 and 40; run again"):
        train_module._check_agreement(Group(0, 2), {"step": 30}, torch.device("cpu"))


def test_all_look_after_the_first_has_the_model_to_itself(stripes, make_settings, model_folder, monkeypatch, capfd):
    """Else one that looked earlier would start to train, and wait an hour for those that found the training complete."""
    settings, volume = make_settings(network=NETWORK, steps=1, batch_size=2), stripes("train")
    train_segment(settings, [volume], [], model_folder, end_step=1)
    checkpoint = model_folder / "segments" / "1" / "checkpoint.ckpt"
    written_meanwhile = checkpoint.rename(model_folder / "by another training")

    class Second(Group):
        def meet(self, device):
            written_meanwhile.rename(checkpoint)

        def most(self, value, device):
            return value

    monkeypatch.setattr(train_module, "joined", lambda size, device: nullcontext(Second(1, 2)))
    train_segment(settings, [volume], [], model_folder, end_step=1, processes=2)
    assert "checkpoint.ckpt is complete; nothing to do" in capfd.readouterr().err


def test_batch_norm_of_parts_is_refused(stripes, make_settings, model_folder):
    settings = make_settings(network=WITH_BATCH_NORM, batch_size=2, accumulate=2)
    with pytest.raises(UserError, match=r"training\.accumulate cannot be used with batch normalisation"):
        train_segment(settings, [stripes("train")], [], model_folder, end_step=12)
