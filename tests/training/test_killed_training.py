"""A trainer that is killed for good, in a process of its own, as the system or a user would do it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline_lib.settings.stages import execution_json, science_json
from pipeline_lib.training.checkpoint import load_checkpoint
from pipeline_lib.training.train import train_segment

SCRIPT = """
import sys
from pathlib import Path
from pipeline_lib.errors import UserError
from pipeline_lib.settings.stages import TrainStage, load_stage
from pipeline_lib.training.train import train_segment
from pipeline_lib.volumes import Volume

science, execution, train, model, end = sys.argv[1:]
try:
    settings = load_stage(TrainStage, science, execution)
    train_segment(settings, [Volume.open(Path(train))], [], Path(model), end_step=int(end))
except UserError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


def start(settings, volume, model_folder, end_step):
    arguments = [science_json(settings), execution_json(settings), str(volume.folder), str(model_folder), str(end_step)]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(condition, *, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_training_leaves_no_process_and_continues_to_the_same_weights(stripes, make_settings, tmp_path, number):
    """SIGTERM goes to the whole group, as from Slurm: the workers shall leave the answer to the trainer."""
    end_step = 150
    volume = stripes("train")
    settings = make_settings(steps=end_step, workers=1, save_every_s=0.05)
    trainer = start(settings, volume, tmp_path / "killed", end_step)
    folder = tmp_path / "killed" / "segments" / str(end_step)
    wait_for((folder / "resume.ckpt").exists)
    children = children_of(trainer.pid)
    assert children
    if number == signal.SIGKILL:
        trainer.kill()
    else:
        os.killpg(trainer.pid, number)
    _, message = trainer.communicate(timeout=120)
    assert trainer.returncode == (-9 if number == signal.SIGKILL else 2), message
    if number == signal.SIGTERM:
        assert "interrupted by SIGTERM at step" in message.splitlines()[-1]
    wait_for(lambda: not any(is_alive(child) for child in children), timeout_s=60)
    assert not (folder / "checkpoint.ckpt").exists()
    assert 0 < load_checkpoint(folder / "resume.ckpt")["step"] < end_step

    train_segment(make_settings(steps=end_step), [volume], [], tmp_path / "killed", end_step=end_step)
    train_segment(make_settings(steps=end_step), [volume], [], tmp_path / "undisturbed", end_step=end_step)
    killed, undisturbed = (
        load_checkpoint(tmp_path / n / "segments" / str(end_step) / "checkpoint.ckpt") for n in ("killed", "undisturbed")
    )
    torch.testing.assert_close(killed["state_dict"], undisturbed["state_dict"], rtol=0, atol=0)
    torch.testing.assert_close(killed["optimizer"], undisturbed["optimizer"], rtol=0, atol=0)
    steps = [row[0] for row in killed["log"]["rows"]]
    assert steps == list(range(3, end_step + 1, 3))
