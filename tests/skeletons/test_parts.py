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
        {"edges": np.array([[0, 1], [1, 20]])},
        {"edges": np.array([[-1, 1]])},
    ],
    ids=str,
)
def test_what_is_refused_whole_is_refused_in_parts(tmp_path, wrong):
    write_arrays(tmp_path / "s.npz", SOUND | wrong)
    with pytest.raises(UserError, match=r"cannot read the skeletons") as whole:
        load_skeletons(tmp_path / "s.npz")
    with pytest.raises(UserError) as parts:
        check_file(tmp_path / "s.npz")
    assert str(parts.value).split(",")[0][:60] == str(whole.value).split(",")[0][:60]


def test_nodes_outside_are_counted_over_all_parts():
    parts = [np.array([[5.0, 5, 5], [5, 5, 39.9]]), np.array([[5.0, 40, 5], [-1, 5, 5]])]
    found = nodes_outside(parts, (4, 4, 4), (10, 10, 10))
    assert (found.n_nodes, found.n_outside, found.first_nm.tolist()) == (4, 2, [5, 40, 5])
    assert nodes_outside(parts[:1], (4, 4, 4), (10, 10, 10)) is None
