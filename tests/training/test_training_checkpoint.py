"""Checkpoints are plain, complete, and refused by name where they are not; the choice among them follows the losses."""

import resource

import pytest
import torch

from pipeline_lib.artefacts.records import checksum
from pipeline_lib.errors import UserError
from pipeline_lib.training.checkpoint import (
    KEYS,
    is_finite,
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
)
from pipeline_lib.training.select import select_checkpoint


def content(**changes):
    values = {key: None for key in KEYS if key != "schema"}
    return {**values, "state_dict": {"a": torch.arange(4.0)}, "step": 5, "random": random_state(), **changes}


@pytest.fixture
def segments(tmp_path):
    def write(losses):
        paths = []
        for step, loss in losses.items():
            paths.append(tmp_path / "a model" / "segments" / str(step) / "checkpoint.ckpt")
            save_checkpoint(paths[-1], content(step=step, validation_loss=loss))
        return paths

    return write


@pytest.mark.parametrize("mmap", [False, True])
def test_what_is_saved_comes_back(tmp_path, mmap):
    save_checkpoint(tmp_path / "x.ckpt", content(targets={"offsets_vox": [[1, 0, 0]]}))
    back = load_checkpoint(tmp_path / "x.ckpt", mmap=mmap)
    assert torch.equal(back["state_dict"]["a"], torch.arange(4.0))
    assert back["targets"] == {"offsets_vox": [[1, 0, 0]]}
    assert back["schema"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x.ckpt"]


def test_keys_are_neither_missing_nor_more(tmp_path):
    with pytest.raises(ValueError, match="a checkpoint has the keys"):
        save_checkpoint(tmp_path / "x.ckpt", content(extra=1))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_and_leaves_the_checkpoint_before(tmp_path):
    path = tmp_path / "x.ckpt"
    save_checkpoint(path, content())
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*x\.ckpt: File too large"):
            save_checkpoint(path, content(state_dict={"a": torch.zeros(100_000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.ckpt"]


def test_files_that_are_no_checkpoints_are_named(tmp_path):
    path = tmp_path / "x.ckpt"
    with pytest.raises(UserError, match=r"there is no checkpoint .*x\.ckpt; train first"):
        load_checkpoint(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"cannot read the checkpoint .*x\.ckpt: .") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    save_checkpoint(path, content())
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UserError, match="cannot read the checkpoint"):
        load_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError, match=r"is not a checkpoint of this project \(schema 1\); train again"):
        load_checkpoint(path)


def test_the_random_state_comes_back():
    state = random_state()
    first = torch.rand(3)
    restore_random_state(state)
    assert torch.equal(torch.rand(3), first)


def test_weights_and_buffers_that_are_not_finite_are_found():
    network = torch.nn.BatchNorm1d(3)
    assert is_finite(network)
    network.running_var[1] = float("inf")
    assert not is_finite(network)


def test_best_has_the_lowest_validation_loss_and_last_the_most_steps(segments):
    paths = segments({900: 0.3, 100: 0.5, 500: 0.2, 700: 0.2})
    best = select_checkpoint(paths, "best")
    assert best == {
        "schema": 1,
        "checkpoint": "segments/500/checkpoint.ckpt",
        "content": checksum(next(path for path in paths if path.parent.name == "500")),
        "step": 500,
        "validation_loss": 0.2,
        "reason": "the lowest validation loss of 4",
    }
    last = select_checkpoint(paths, "last")
    assert (last["checkpoint"], last["step"], last["reason"]) == ("segments/900/checkpoint.ckpt", 900, "the last of 4")


def test_a_choice_that_cannot_be_made_says_why(segments):
    with pytest.raises(UserError, match="there is no checkpoint to choose from"):
        select_checkpoint([], "best")
    paths = segments({100: 0.5, 200: None})
    with pytest.raises(
        UserError, match=r"200/checkpoint\.ckpt has no validation loss: add a val volume, or set inference\.checkpoint"
    ):
        select_checkpoint(paths, "best")
    assert select_checkpoint(paths, "last")["validation_loss"] is None


def test_a_checkpoint_that_was_replaced_makes_another_choice(segments):
    paths = segments({100: 0.5, 200: 0.2})
    before = select_checkpoint(paths, "best")
    content = load_checkpoint(paths[1])
    save_checkpoint(paths[1], {**{key: content[key] for key in content if key != "schema"}, "settings_digest": "another"})
    after = select_checkpoint(paths, "best")
    assert before != after
    assert {**before, "content": after["content"]} == after
