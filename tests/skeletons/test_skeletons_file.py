from __future__ import annotations

import numpy as np
import pytest

from pipeline_lib.errors import UserError
from pipeline_lib.skeletons import Skeletons, load_skeletons, save_skeletons


def _skeletons():
    return Skeletons([[0, 0, 0], [3, 4, 0], [3, 4, 12]], [5, 5, 5], [[0, 1], [1, 2]])


def test_edge_lengths_are_euclidean():
    np.testing.assert_allclose(_skeletons().edge_lengths_nm, [5.0, 12.0])


def test_a_file_gives_back_what_was_saved(tmp_path):
    save_skeletons(tmp_path / "s p.npz", _skeletons())
    found = load_skeletons(tmp_path / "s p.npz")
    for name in ("node_positions_nm", "node_skeleton_ids", "edges"):
        np.testing.assert_array_equal(getattr(found, name), getattr(_skeletons(), name))
    assert (found.node_positions_nm.dtype, found.node_skeleton_ids.dtype, found.edges.dtype) == (np.float64, np.int64, np.int64)


def test_no_skeletons_at_all(tmp_path):
    save_skeletons(tmp_path / "s.npz", Skeletons(np.zeros((0, 3)), np.zeros(0), np.zeros((0, 2))))
    assert load_skeletons(tmp_path / "s.npz").edges.shape == (0, 2)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (([[0, 0, 0]], [1, 2], []), "1 node positions but 2 skeleton ids"),
        (([[0, 0, np.nan]], [1], []), "a node position is not finite"),
        (([[0, 0, 0]], [1], [[0, 1]]), "an edge names node 1, but there are nodes 0 to 0"),
        (([[0, 0, 0]], [1], [[0], [0]]), r"edges has rows of shape \(1,\), expected \(2,\)"),
        (([[0, 0], [0, 0], [0, 0]], [1, 1], []), r"node_positions_nm has rows of shape \(2,\), expected \(3,\)"),
    ],
)
def test_inconsistent_parts_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        Skeletons(*parts)


def test_files_that_are_no_skeletons_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the arrays in .*none\.npz: .*No such file"):
        load_skeletons(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(UserError, match=r"cannot read the skeletons .*other\.npz: .*node_positions_nm"):
        load_skeletons(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", node_positions_nm=np.array([{}], object), node_skeleton_ids=[1], edges=[])
    with pytest.raises(UserError, match=r"cannot read the arrays in .*objects\.npz"):
        load_skeletons(tmp_path / "objects.npz")
