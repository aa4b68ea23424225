"""A run that is interrupted, split into segments or fed by workers ends with the same weights, bit by bit."""

import csv
import io
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline_lib.artefacts import Lock, read_json, write_json
from pipeline_lib.errors import UserError
from pipeline_lib.network import build_network
from pipeline_lib.settings.stages import science
from pipeline_lib.training.checkpoint import load_checkpoint
from pipeline_lib.training.interruption import TIME_LIMIT, StoppedError, StopRequest
from pipeline_lib.training.loss import masked_bce
from pipeline_lib.training.train import VALIDATION_STREAM, _sampler, train_segment


class CrashError(Exception):
    """Stands for a kill: nothing of ours handles it."""


@pytest.fixture
def at_loss_call(monkeypatch):
    """Do something when the training loss is computed for the n-th time."""

    def install(call, action):
        calls = iter(range(1, 10_000))

        def counted(*arguments):
            if next(calls) == call:
                action()
            return masked_bce(*arguments)

        monkeypatch.setattr("pipeline_lib.training.module.masked_bce", counted)

    return install


def crash():
    raise CrashError


def checkpoint_of(folder, step):
    return load_checkpoint(folder / "segments" / str(step) / "checkpoint.ckpt")


def rows_of(folder):
    """metrics.csv without the column of wall time."""
    rows = list(csv.DictReader(io.StringIO((folder / "metrics.csv").read_text())))
    assert all(float(row.pop("seconds")) > 0 for row in rows)
    return rows


def assert_same_training(first, second):
    """All that decides how training goes on."""
    assert first["step"] == second["step"]
    assert first["validation_loss"] == second["validation_loss"]
    assert first["scheduler"] == second["scheduler"]
    torch.testing.assert_close(first["state_dict"], second["state_dict"], rtol=0, atol=0)
    torch.testing.assert_close(first["optimizer"], second["optimizer"], rtol=0, atol=0)
    torch.testing.assert_close(first["random"], second["random"], rtol=0, atol=0)


def test_training_learns_and_leaves_everything_that_is_promised(stripes, make_settings, model_folder):
    settings = make_settings(steps=100, learning_rate=0.02, validate_every_steps=25, log_every_steps=5, batch_size=2)
    val = stripes("val", seed=1)
    train_segment(settings, [stripes("train")], [val], model_folder, end_step=100)

    losses = [float(row["validation_loss"]) for row in rows_of(model_folder) if row["validation_loss"]]
    assert len(losses) == 4
    rows = rows_of(model_folder)
    assert [int(row["step"]) for row in rows] == list(range(5, 101, 5))
    rates = [float(row["learning_rate"]) for row in rows]
    assert max(rates) <= 0.02
    assert rates[-1] < 1e-4
    assert float(rows[-1]["training_loss"]) < float(rows[0]["training_loss"])

    assert yaml.safe_load((model_folder / "settings.yaml").read_text()) == science(settings)
    plan = read_json(model_folder / "plan.json")
    assert (plan["precision"], plan["reason"]) == ("float32", "as set in training.precision")
    assert plan["versions"]["torch"] == torch.__version__

    content = checkpoint_of(model_folder, 100)
    options = dict(content["network"])
    network = build_network(options.pop("name"), in_channels=content["in_channels"], out_channels=4, **options)
    network.load_state_dict(content["state_dict"])
    assert plan["parameters"] == sum(p.numel() for p in network.parameters())
    assert content["targets"] == science(settings.targets)
    sampler = _sampler(settings, [val], stream=VALIDATION_STREAM)
    patches = [sampler[i] for i in range(3)]
    with torch.no_grad():
        image, target, valid = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*patches, strict=True))
        loss = masked_bce(network.eval()(image), target, valid).item()
    assert loss == pytest.approx(content["validation_loss"], rel=1e-5)
    assert content["validation_loss"] == losses[-1]
    # The best that can be said without looking at the image: how often each channel is 1.
    frequencies = [(target[:, c] & valid[:, c]).sum().item() / valid[:, c].sum().item() for c in range(4)]
    blind = np.mean([-f * np.log(f) - (1 - f) * np.log(1 - f) for f in frequencies])
    assert loss < 0.75 * blind
    assert load_checkpoint(model_folder / "segments" / "100" / "resume.ckpt")["step"] == 100


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_crash_and_a_second_run_give_the_weights_of_an_undisturbed_one(
    stripes, make_settings, tmp_path, at_loss_call, precision
):
    volumes = [stripes("train")], [stripes("val", seed=1)]
    settings = make_settings(precision=precision, save_every_s=1e-6)
    train_segment(settings, *volumes, tmp_path / "undisturbed", end_step=12)
    at_loss_call(8, crash)
    with pytest.raises(CrashError):
        train_segment(settings, *volumes, tmp_path / "killed", end_step=12)
    assert not (tmp_path / "killed" / "segments" / "12" / "checkpoint.ckpt").exists()
    assert load_checkpoint(tmp_path / "killed" / "segments" / "12" / "resume.ckpt")["step"] == 7
    train_segment(settings, *volumes, tmp_path / "killed", end_step=12)
    assert_same_training(checkpoint_of(tmp_path / "killed", 12), checkpoint_of(tmp_path / "undisturbed", 12))
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "undisturbed")
    assert checkpoint_of(tmp_path / "killed", 12)["precision"] == precision


def test_a_finished_segment_whose_checkpoint_was_taken_away_is_not_trained_again(
    stripes, make_settings, tmp_path, at_loss_call
):
    """A workflow killed between the end of training and its own note of it removes the checkpoint when it is run again."""
    volumes = [stripes("train")], [stripes("val", seed=1)]
    train_segment(make_settings(), *volumes, tmp_path, end_step=12)
    before = checkpoint_of(tmp_path, 12)
    (tmp_path / "segments" / "12" / "checkpoint.ckpt").unlink()
    at_loss_call(1, crash)
    train_segment(make_settings(), *volumes, tmp_path, end_step=12)
    assert_same_training(checkpoint_of(tmp_path, 12), before)


def test_replaced_volumes_are_trained_on_anew(stripes, make_settings, tmp_path, capsys):
    old, new = (replace(stripes("train"), content=content) for content in ("a", "b"))
    train_segment(make_settings(), [old], [], tmp_path, end_step=12)
    (tmp_path / "segments" / "12" / "checkpoint.ckpt").unlink()
    train_segment(make_settings(), [new], [], tmp_path, end_step=12)
    assert "resume.ckpt was written with other settings" in capsys.readouterr().err


def test_two_segments_equal_one(stripes, make_settings, tmp_path):
    volumes = [stripes("train")], [stripes("val", seed=1)]
    settings = make_settings(log_every_steps=2)
    train_segment(settings, *volumes, tmp_path / "one", end_step=12)
    train_segment(settings, *volumes, tmp_path / "two", end_step=6)
    first = tmp_path / "two" / "segments" / "6" / "checkpoint.ckpt"
    before = first.read_bytes()
    train_segment(settings, *volumes, tmp_path / "two", end_step=12, previous=first)
    assert_same_training(checkpoint_of(tmp_path / "one", 12), checkpoint_of(tmp_path / "two", 12))
    assert first.read_bytes() == before
    assert checkpoint_of(tmp_path / "two", 6)["validation_loss"] is not None
    steps = [int(row["step"]) for row in rows_of(tmp_path / "two")]
    assert steps == [2, 4, 6, 8, 10, 12]


def test_workers_and_other_execution_settings_do_not_change_the_weights(stripes, make_settings, tmp_path):
    volumes = [stripes("train")], [stripes("val", seed=1)]
    train_segment(make_settings(), *volumes, tmp_path / "inline", end_step=12)
    other = make_settings(workers=2, log_every_steps=5, save_every_s=0.01)
    train_segment(other, *volumes, tmp_path / "workers", end_step=12)
    inline, workers = checkpoint_of(tmp_path / "inline", 12), checkpoint_of(tmp_path / "workers", 12)
    assert_same_training(inline, workers)
    assert inline["settings_digest"] == workers["settings_digest"]


def test_validation_does_not_change_the_weights(stripes, make_settings, tmp_path):
    train, val = stripes("train"), stripes("val", seed=1)
    train_segment(make_settings(validate_every_steps=1), [train], [val], tmp_path / "often", end_step=12)
    train_segment(make_settings(), [train], [], tmp_path / "never", end_step=12)
    often, never = checkpoint_of(tmp_path / "often", 12), checkpoint_of(tmp_path / "never", 12)
    torch.testing.assert_close(often["state_dict"], never["state_dict"], rtol=0, atol=0)
    assert never["validation_loss"] is None
    assert all(row["validation_loss"] == "" for row in rows_of(tmp_path / "never"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_between_steps_and_the_next_run_continues(stripes, make_settings, tmp_path, at_loss_call, number):
    volumes = [stripes("train")], []
    train_segment(make_settings(), *volumes, tmp_path / "undisturbed", end_step=12)
    before = signal.getsignal(number)
    at_loss_call(5, lambda: os.kill(os.getpid(), number))
    message = f"interrupted by {number.name} at step 5 of 12 and is saved; run the same command again to continue"
    with pytest.raises(UserError, match=message):
        train_segment(make_settings(), *volumes, tmp_path / "stopped", end_step=12)
    assert signal.getsignal(number) is before
    train_segment(make_settings(), *volumes, tmp_path / "stopped", end_step=12)
    assert_same_training(checkpoint_of(tmp_path / "stopped", 12), checkpoint_of(tmp_path / "undisturbed", 12))


@pytest.mark.parametrize(
    ("left_s", "step_s", "stops"), [(100.0, 9.0, True), (100.0, 3.0, False), (91.0, 0.0, False), (89.0, 0.0, True)]
)
def test_training_stops_where_the_time_left_may_not_suffice_for_another_step(left_s, step_s, stops, monkeypatch):
    monkeypatch.setattr("pipeline_lib.training.interruption.time.time", lambda: 1000.0)
    stop = StopRequest(ends_at_s=1000.0 + left_s, margin_s=90.0 if step_s == 0 else 95.0)
    stop.look_at_clock(step_s)
    assert stop.received == ("the time limit" if stops else None)


def test_a_time_limit_saves_between_steps_and_the_next_run_continues(stripes, make_settings, tmp_path):
    volumes = [stripes("train")], []
    train_segment(make_settings(), *volumes, tmp_path / "undisturbed", end_step=12)
    for step in range(1, 4):  # at least one step each, or it would never end
        late = StopRequest(ends_at_s=time.time() + 5, margin_s=10.0)
        with pytest.raises(StoppedError, match=f"interrupted by the time limit at step {step} of 12 and is saved") as caught:
            train_segment(make_settings(), *volumes, tmp_path / "stopped", end_step=12, stop=late)
        assert caught.value.reason == TIME_LIMIT
    train_segment(make_settings(), *volumes, tmp_path / "stopped", end_step=12)
    assert_same_training(checkpoint_of(tmp_path / "stopped", 12), checkpoint_of(tmp_path / "undisturbed", 12))


def test_a_signal_in_the_last_step_lets_training_end(stripes, make_settings, model_folder, at_loss_call):
    at_loss_call(12, lambda: os.kill(os.getpid(), signal.SIGTERM))
    train_segment(make_settings(), [stripes("train")], [], model_folder, end_step=12)
    assert checkpoint_of(model_folder, 12)["step"] == 12


def test_a_torn_side_checkpoint_is_left_aside_with_a_message(stripes, make_settings, tmp_path, at_loss_call, capsys):
    volumes = [stripes("train")], []
    settings = make_settings(save_every_s=1e-6)
    train_segment(settings, *volumes, tmp_path / "undisturbed", end_step=12)
    at_loss_call(6, crash)
    with pytest.raises(CrashError):
        train_segment(settings, *volumes, tmp_path / "torn", end_step=12)
    side = tmp_path / "torn" / "segments" / "12" / "resume.ckpt"
    side.write_bytes(side.read_bytes()[:1000])
    train_segment(settings, *volumes, tmp_path / "torn", end_step=12)
    assert f"starting this segment again: cannot read the checkpoint {side}" in capsys.readouterr().err
    assert_same_training(checkpoint_of(tmp_path / "torn", 12), checkpoint_of(tmp_path / "undisturbed", 12))
    assert rows_of(tmp_path / "torn") == rows_of(tmp_path / "undisturbed")


def test_a_side_checkpoint_of_other_settings_is_left_aside_with_a_message(
    stripes, make_settings, model_folder, at_loss_call, capsys
):
    volume = stripes("train")
    at_loss_call(6, crash)
    with pytest.raises(CrashError):
        train_segment(make_settings(save_every_s=1e-6), [volume], [], model_folder, end_step=12)
    train_segment(make_settings(seed=4), [volume], [], model_folder, end_step=12)
    assert "resume.ckpt was written with other settings" in capsys.readouterr().err


def test_a_complete_segment_is_not_trained_again(stripes, make_settings, model_folder, capsys):
    volume = stripes("train")
    train_segment(make_settings(), [volume], [], model_folder, end_step=6)
    path = model_folder / "segments" / "6" / "checkpoint.ckpt"
    before = path.stat().st_mtime_ns
    train_segment(make_settings(), [volume], [], model_folder, end_step=6)
    assert path.stat().st_mtime_ns == before
    assert "is complete; nothing to do" in capsys.readouterr().err


def test_a_segment_that_does_not_follow_the_previous_is_refused(stripes, make_settings, model_folder):
    volume = stripes("train")
    train_segment(make_settings(), [volume], [], model_folder, end_step=6)
    previous = model_folder / "segments" / "6" / "checkpoint.ckpt"
    with pytest.raises(UserError, match="was trained with other settings; train the segment before this one again"):
        train_segment(make_settings(seed=9), [volume], [], model_folder, end_step=12, previous=previous)
    with pytest.raises(UserError, match="is at step 6, but this segment ends at step 5"):
        train_segment(make_settings(), [volume], [], model_folder, end_step=5, previous=previous)
    with pytest.raises(UserError, match=r"there is no checkpoint .*missing\.ckpt; train first"):
        train_segment(make_settings(), [volume], [], model_folder, end_step=12, previous=model_folder / "missing.ckpt")
    with pytest.raises(ValueError, match="end_step must lie within 1 to 12, got 13"):
        train_segment(make_settings(), [volume], [], model_folder, end_step=13)


def test_a_loss_that_is_not_finite_stops_training_at_once(stripes, make_settings, model_folder):
    settings = make_settings(learning_rate=1e25, warmup_steps=0)
    expected = r"the training loss is (nan|inf) at step \d+ with a learning rate of \d.*: lower training.learning_rate"
    with pytest.raises(UserError, match=expected):
        train_segment(settings, [stripes("train")], [], model_folder, end_step=12)
    assert not list(model_folder.rglob("*.ckpt"))


def test_weights_that_are_not_finite_are_not_saved(stripes, make_settings, model_folder, monkeypatch):
    monkeypatch.setattr("pipeline_lib.training.callback.is_finite", lambda network: False)
    with pytest.raises(UserError, match=r"weights are NaN or infinite after step 12: lower training\.learning_rate"):
        train_segment(make_settings(), [stripes("train")], [], model_folder, end_step=12)
    assert not list(model_folder.rglob("*.ckpt"))


def test_an_empty_training_set_leaves_nothing_behind(make_volume, make_settings, model_folder):
    shape = (12, 12, 12)
    volume = make_volume("gap", np.zeros(shape, np.uint8), np.ones(shape, np.uint32), np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match="the training set is empty"):
        train_segment(make_settings(), [volume], [], model_folder, end_step=12)
    assert not model_folder.exists()


def test_precision_is_resolved_once_and_read_from_the_plan(stripes, make_settings, tmp_path, at_loss_call):
    volume = stripes("train")
    settings = make_settings(precision="auto", save_every_s=1e-6)
    at_loss_call(1, crash)
    with pytest.raises(CrashError):
        train_segment(settings, [volume], [], tmp_path, end_step=12)
    plan = read_json(tmp_path / "plan.json")
    assert plan["float32_ms"] > 0
    assert plan["bfloat16_ms"] > 0
    assert "times as fast" in plan["reason"]
    other = "float32" if plan["precision"] == "bfloat16" else "bfloat16"
    write_json(tmp_path / "plan.json", {**plan, "precision": other})
    train_segment(settings, [volume], [], tmp_path, end_step=6)
    assert checkpoint_of(tmp_path, 6)["precision"] == other
    write_json(tmp_path / "plan.json", {**plan, "settings_digest": "00000000"})
    previous = tmp_path / "segments" / "6" / "checkpoint.ckpt"
    train_segment(settings, [volume], [], tmp_path, end_step=12, previous=previous)
    assert checkpoint_of(tmp_path, 12)["precision"] == other
    assert "as in the checkpoint" in read_json(tmp_path / "plan.json")["reason"]


def test_the_probe_does_not_change_the_weights(stripes, make_settings, tmp_path, monkeypatch):
    volume = stripes("train")
    train_segment(make_settings(precision="float32"), [volume], [], tmp_path / "given", end_step=6)
    monkeypatch.setattr("pipeline_lib.training.precision.WORTHWHILE_SPEEDUP", 1e9)
    train_segment(make_settings(precision="auto"), [volume], [], tmp_path / "probed", end_step=6)
    given, probed = checkpoint_of(tmp_path / "given", 6), checkpoint_of(tmp_path / "probed", 6)
    torch.testing.assert_close(given["state_dict"], probed["state_dict"], rtol=0, atol=0)


def test_tensorboard_shows_every_step_once_and_pictures(stripes, make_settings, model_folder, at_loss_call):
    volumes = [stripes("train")], [stripes("val", seed=1)]
    settings = make_settings(save_every_s=1e-6)
    at_loss_call(8, crash)
    with pytest.raises(CrashError):
        train_segment(settings, *volumes, model_folder, end_step=12)
    train_segment(settings, *volumes, model_folder, end_step=12)
    events = EventAccumulator(str(model_folder / "tensorboard"))
    events.Reload()
    rows = rows_of(model_folder)
    for name in ("learning_rate", "training_loss", "validation_loss"):
        expected = {int(row["step"]): float(row[name]) for row in rows if row[name]}
        shown = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in shown] == list(expected)
        np.testing.assert_allclose([value for _, value in shown], list(expected.values()), rtol=1e-6)
    pictures = events.Images("image, affinities, target/0")
    assert [picture.step for picture in pictures] == [4, 8, 12]
    assert (pictures[0].width, pictures[0].height) == (24, 8)


def test_variables_of_a_slurm_job_do_not_change_how_many_processes_train(stripes, make_settings, model_folder, monkeypatch):
    for name, value in {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "7", "SLURM_PROCID": "1"}.items():
        monkeypatch.setenv(name, value)
    train_segment(make_settings(), [stripes("train")], [], model_folder, end_step=12)
    assert checkpoint_of(model_folder, 12)["step"] == 12


def test_a_folder_in_use_is_refused(stripes, make_settings, model_folder):
    with Lock(model_folder, what="another training"), pytest.raises(UserError, match="is in use by another training"):
        train_segment(make_settings(), [stripes("train")], [], model_folder, end_step=12, patience_s=0)


def test_a_gpu_that_is_not_there_is_refused(stripes, make_settings, model_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch sees no GPU; use device auto or cpu"):
        train_segment(make_settings(), [stripes("train")], [], model_folder, end_step=12, device="cuda")
    with pytest.raises(ValueError, match="device must be auto, cpu or cuda, got 'tpu'"):
        train_segment(make_settings(), [stripes("train")], [], model_folder, end_step=12, device="tpu")


def test_networks_with_outputs_at_several_resolutions_can_be_trained(stripes, make_settings, model_folder):
    network = {"name": "mednext", "init_filters": 2, "block_counts": [1] * 9, "expansion_ratios": 1, "deep_supervision": True}
    settings = make_settings(network=network, patch_vox=(16, 16, 32), steps=2, validation_patches=1)
    train_segment(settings, [stripes("train")], [stripes("val", seed=1)], model_folder, end_step=2)
    assert checkpoint_of(model_folder, 2)["validation_loss"] > 0
