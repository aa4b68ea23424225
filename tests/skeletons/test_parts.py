"""Skeletons read so many nodes at a time, against reading them whole."""

import numpy as np
import pytest

from pipeline_lib.artefacts import npz
from pipeline_lib.artefacts.npz import read_in_parts, write_arrays
from pipeline_lib.errors import UserError
from pipeline_lib.skeletons import load_skeletons
from pipeline_lib.skeletons.parts import check_file, nodes_outside, positions_in_parts

SOUND = {
    "node_positions_nm": np.arange(60.0).reshape(20, 3),
    "node_skeleton_ids": np.arange(20),
    "edges": np.array([[0, 1], [18, 19]]),
}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(npz, "_PART_ROWS", 6)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(60.0).reshape(20, 3),
        np.arange(60.0).reshape(3, 20).T,  # stored column by column
        np.arange(18, dtype=np.uint8).reshape(6, 3),
        np.zeros((0, 3)),
        np.arange(7),
    ],
    ids=lambda a: f"{a.shape} {a.strides}",
)
def test_parts_make_the_whole(tmp_path, array, compressed):
    write_arrays(tmp_path / "a.npz", {"other": np.ones(3), "array": array}, compressed=compressed)
    parts = list(read_in_parts(tmp_path / "a.npz", "array"))
    assert [len(part) for part in parts] == [min(6, len(array) - start) for start in range(0, len(array), 6)]
    if parts:
        np.testing.assert_array_equal(np.concatenate(parts), array)


def test_what_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "s.npz"
    with pytest.raises(UserError, match=r"cannot read the arrays in .*s\.npz: .*No such file"):
        list(positions_in_parts(path))
    path.write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"cannot read the arrays in .*s\.npz: File is not a zip file"):
        list(positions_in_parts(path))
    write_arrays(path, {"node_positions_nm": np.zeros(())})
    with pytest.raises(UserError, match=r"cannot read the arrays in .*s\.npz"):
        list(positions_in_parts(path))


def test_sound_skeletons_pass(tmp_path):
    write_arrays(tmp_path / "s.npz", SOUND)
    check_file(tmp_path / "s.npz")
    np.testing.assert_array_equal(np.concatenate(list(positions_in_parts(tmp_path / "s.npz"))), SOUND["node_positions_nm"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"node_positions_nm": np.zeros((19, 3))},
        {"node_positions_nm": np.zeros((0, 3))},
        {"node_positions_nm": np.full((20, 3), np.inf)},
        {"node_positions_nm": np.full((20, 3), "here")},
        {"node_positions_nm": np.arange(60.0)},
        {"node_positions_nm": np.arange(60.0).reshape(3, 20)},
        {"node_positions_nm": np.arange(60.0).reshape(20, 3, 1)},
        {"node_skeleton_ids": np.zeros((20, 2))},
        {"node_skeleton_ids": np.full(20, "one")},
        {"node_skeleton_ids": np.zeros(20, [("id", int), ("of", int)])},
        {"edges": np.array([[0, 1], [1, 20]])},
        {"edges": np.array([[0, 1]] * 7 + [[1, -1], [21, 20]])},  # beyond the first part
        {"edges": np.array([[-1, 1]])},
        {"edges": np.arange(3)},
        {"edges": np.arange(4)},
        {"edges": np.arange(9).reshape(3, 3)},
        {"edges": np.arange(14).reshape(2, 7)},
        {"edges": np.arange(4).reshape(2, 2, 1)},
        {"edges": np.full((1, 2), "one")},
    ],
    ids=lambda wrong: " ".join(f"{name} {array.dtype} {array.shape}" for name, array in wrong.items()),
)
def test_what_is_refused_whole_is_refused_in_parts(tmp_path, wrong):
    write_arrays(tmp_path / "s.npz", SOUND | wrong)
    with pytest.raises(UserError, match=r"cannot read the skeletons") as whole:
        load_skeletons(tmp_path / "s.npz")
    with pytest.raises(UserError) as parts:
        check_file(tmp_path / "s.npz")
    assert str(parts.value) == str(whole.value)


@pytest.mark.parametrize(
    "other",
    [
        {"node_positions_nm": np.arange(60).reshape(20, 3), "node_skeleton_ids": np.zeros((20, 1), np.uint8)},
        {"edges": np.zeros(0)},
        {"edges": np.zeros((0, 3))},
        {name: np.zeros(0) for name in SOUND},
    ],
    ids=str,
)
def test_what_is_taken_whole_is_taken_in_parts(tmp_path, other):
    write_arrays(tmp_path / "s.npz", SOUND | other)
    load_skeletons(tmp_path / "s.npz")
    check_file(tmp_path / "s.npz")


@pytest.mark.parametrize("name", SOUND)
def test_an_array_that_is_not_there_is_named(tmp_path, name):
    write_arrays(tmp_path / "s.npz", {other: array for other, array in SOUND.items() if other != name})
    for read in (load_skeletons, check_file):
        with pytest.raises(UserError, match=rf"cannot read the .* .*s\.npz: .*{name}"):
            read(tmp_path / "s.npz")


def test_nodes_outside_are_counted_over_all_parts():
    parts = [np.array([[5.0, 5, 5], [5, 5, 39.9]]), np.array([[5.0, 40, 5], [-1, 5, 5]])]
    found = nodes_outside(parts, (4, 4, 4), (10, 10, 10))
    assert (found.n_nodes, found.n_outside, found.first_nm.tolist()) == (4, 2, [5, 40, 5])
    assert nodes_outside(parts[:1], (4, 4, 4), (10, 10, 10)) is None
