from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from pipeline_lib.artefacts import Budget
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import nm_to_vox_floor
from pipeline_lib.importing.block_skeletons import BLOCK_VOX, make_skeletons
from pipeline_lib.importing.skeletons import check_on_labels, check_positions, read_skeletons
from pipeline_lib.skeletons import Skeletons, save_skeletons
from pipeline_lib.volumes import create_array

SIZE_NM = (20.0, 10.0, 10.0)


def _stored(path, labels):
    array = create_array(path / "0", labels.shape, "uint32", attributes={})
    array[:] = labels
    return array


def _made(path, labels, *, block_vox=BLOCK_VOX, memory_mb=4000, threads=1):
    _stored(path, labels)
    budget = Budget(memory_mb, threads)
    return make_skeletons(path / "0", path / "made", SIZE_NM, labels_content="", budget=budget, block_vox=block_vox)


def _tubes(shape=(40, 60, 90)):
    """Three straight tubes along z, y and x that do not touch."""
    labels = np.zeros(shape, np.uint32)
    labels[:, 5:20, 5:20] = 7
    labels[5:20, :, 25:40] = 9
    labels[5:20, 5:20, 45:] = 70_000
    return labels


def _straight(labels):
    """One node every two voxels along the middle of each tube."""
    z, y, x = (np.arange(0, n, 2) for n in labels.shape)
    lines = [
        np.stack([z, np.full_like(z, 12), np.full_like(z, 12)], 1),
        np.stack([np.full_like(y, 12), y, np.full_like(y, 32)], 1),
        np.stack([np.full_like(x, 12), np.full_like(x, 12), x], 1)[23:],
    ]
    voxels = np.concatenate(lines)
    ids = np.repeat([1, 2, 3], [len(line) for line in lines])
    return Skeletons((voxels + 0.5) * SIZE_NM, ids, np.zeros((0, 2)))


def _graph(skeletons):
    graph = nx.Graph()
    graph.add_nodes_from(range(len(skeletons.node_skeleton_ids)))
    graph.add_edges_from(skeletons.edges.tolist())
    return graph


def test_made_skeletons_lie_on_their_labels_and_are_trees(tmp_path):
    labels = _tubes()
    found = _made(tmp_path, labels)
    voxels = nm_to_vox_floor(found.node_positions_nm, SIZE_NM)
    np.testing.assert_array_equal(labels[tuple(voxels.T)], found.node_skeleton_ids)
    np.testing.assert_allclose(found.node_positions_nm / SIZE_NM % 1, 0.5)  # the middle of the voxel
    graph = _graph(found)
    assert nx.is_forest(graph)
    assert nx.number_connected_components(graph) == 3
    a, b = found.edges.T
    np.testing.assert_array_equal(found.node_skeleton_ids[a], found.node_skeleton_ids[b])
    for label, length_nm in ((7, 40 * 20), (9, 60 * 10), (70_000, 45 * 10)):
        own = found.edge_lengths_nm[found.node_skeleton_ids[a] == label].sum()
        assert 0.8 * length_nm <= own <= 1.4 * length_nm


def test_small_objects_get_no_skeleton(tmp_path):
    labels = np.zeros((30, 30, 60), np.uint32)
    labels[:10, :10, :10] = 1  # 1000 voxels
    labels[:10, :10, 20:31] = 2  # 1100 voxels
    assert set(_made(tmp_path, labels).node_skeleton_ids) == {2}


def test_labels_without_objects_give_no_skeletons(tmp_path):
    found = _made(tmp_path, np.zeros((20, 20, 20), np.uint32))
    assert (found.node_positions_nm.shape, found.edges.shape) == ((0, 3), (0, 2))


def test_skeletons_made_in_blocks_join_into_trees(tmp_path):
    """A tube through several blocks, and a ring that would close a loop where blocks meet."""
    labels = np.zeros((24, 120, 120), np.uint32)
    labels[4:16, 50:62, :] = 3
    z, y, x = np.indices(labels.shape)
    radius = np.hypot(y - 59.5, x - 59.5)
    labels[(radius > 44) & (radius < 56) & (z > 2) & (z < 18) & (labels == 0)] = 8
    labels[4:16, 50:62, :][labels[4:16, 50:62, :] == 0] = 3
    whole, blocks = _made(tmp_path, labels), _made(tmp_path / "blocks", labels, block_vox=(24, 48, 48))
    assert nx.is_forest(_graph(blocks))
    voxels = nm_to_vox_floor(blocks.node_positions_nm, SIZE_NM)
    np.testing.assert_array_equal(labels[tuple(voxels.T)], blocks.node_skeleton_ids)
    assert len(np.unique(np.column_stack([voxels, blocks.node_skeleton_ids]), axis=0)) == len(voxels)
    for label in (3, 8):
        counts, lengths = [], []
        for skeletons in (whole, blocks):
            graph = _graph(skeletons).subgraph(np.flatnonzero(skeletons.node_skeleton_ids == label))
            counts.append(nx.number_connected_components(graph))
            lengths.append(skeletons.edge_lengths_nm[skeletons.node_skeleton_ids[skeletons.edges[:, 0]] == label].sum())
        assert counts[0] == counts[1]
        assert 0.7 * lengths[0] <= lengths[1] <= 1.5 * lengths[0]


def test_given_skeletons_are_read_by_their_kind(tmp_path):
    skeletons = _straight(_tubes())
    save_skeletons(tmp_path / "s.npz", skeletons)
    found = read_skeletons(tmp_path / "s.npz", SIZE_NM)
    np.testing.assert_array_equal(found.node_positions_nm, skeletons.node_positions_nm)
    (tmp_path / "s.swc").touch()
    with pytest.raises(UserError, match=r"s\.swc is of an unknown kind; expected \.npz as written by import, or \.pkl of NISB"):
        read_skeletons(tmp_path / "s.swc", SIZE_NM)
    with pytest.raises(UserError, match=r"cannot read the arrays in .*gone\.npz"):
        read_skeletons(tmp_path / "gone.npz", SIZE_NM)


def test_nodes_outside_the_volume_are_refused():
    skeletons = Skeletons([[5, 5, 5], [799.0, 599.0, 899.0], [800.0, 5, 5], [-1.0, 5, 5]], [1, 1, 1, 1], [[0, 1]])
    message = (
        r"skeletons: 2 of the 4 nodes of a\.npz lie outside the volume, the first at \(800\.0, 5\.0, 5\.0\) nm of "
        r"\(800\.0, 600\.0, 900\.0\) nm \(z, y, x\); check their unit, axes and voxel_size_nm"
    )
    with pytest.raises(UserError, match=message):
        check_positions([skeletons.node_positions_nm[:2], skeletons.node_positions_nm[2:]], (40, 60, 90), SIZE_NM, "a.npz")
    check_positions([np.array([[799.9, 599.9, 899.9]])], (40, 60, 90), SIZE_NM, "a.npz")


class TestSkeletonsOnLabels:
    def test_ids_need_not_equal_the_labels(self, tmp_path):
        labels = _tubes()
        check_on_labels(_straight(labels), _stored(tmp_path, labels), None, SIZE_NM, "s.npz")

    def test_swapped_axes_are_named(self, tmp_path):
        labels = _tubes((60, 60, 60))
        right = _straight(labels)
        wrong = Skeletons((right.node_positions_nm / SIZE_NM)[:, ::-1] * SIZE_NM, right.node_skeleton_ids, right.edges)
        message = (
            r"skeletons: \d+% of the nodes of s\.npz lie on their skeleton's commonest label with positions read as zyx, "
            r"but 100% with axes swapped to xyz; correct the positions"
        )
        with pytest.raises(UserError, match=message):
            check_on_labels(wrong, _stored(tmp_path, labels), None, SIZE_NM, "s.npz")

    def test_skeletons_of_other_labels_are_refused(self, tmp_path, rng):
        labels = np.zeros((40, 60, 90), np.uint32)
        labels[:, :, :30] = rng.integers(1, 1000, (40, 60, 30))
        voxels = rng.integers(0, 40, (200, 3))
        strangers = Skeletons((voxels + 0.5) * SIZE_NM, np.ones(200), np.zeros((0, 2)))
        message = (
            r"skeletons: \d+% of the nodes of s\.npz lie on a label and \d+% on their skeleton's commonest one, expected at "
            r"least 50%; are these the skeletons of these labels\?"
        )
        with pytest.raises(UserError, match=message):
            check_on_labels(strangers, _stored(tmp_path, labels), None, SIZE_NM, "s.npz")

    def test_nodes_of_no_neuron_count_nowhere(self, tmp_path):
        labels = _tubes()
        stray = Skeletons(np.full((50, 3), 395.0), np.zeros(50), np.zeros((0, 2)))
        check_on_labels(stray, _stored(tmp_path, labels), None, SIZE_NM, "s.npz")

    def test_nodes_where_nothing_is_labelled_count_nowhere(self, tmp_path):
        labels = _tubes()
        skeletons = _straight(labels)
        labels[4:] = 0
        mask = np.zeros_like(labels)
        mask[:4] = 1
        stored, mask_array = _stored(tmp_path, labels), _stored(tmp_path / "mask", mask)
        with pytest.raises(UserError, match=r"are these the skeletons of these labels\?"):
            check_on_labels(skeletons, stored, None, SIZE_NM, "s.npz")
        check_on_labels(skeletons, stored, mask_array, SIZE_NM, "s.npz")
