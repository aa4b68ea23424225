"""Synthetic volumes: exact truth, dense filling, reproducible, whatever the shape and voxel size."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import nm_to_vox_floor
from pipeline_lib.metrics import score_skeletons
from pipeline_lib.synthetic import generate, rendering, voxels

ISOTROPIC, ANISOTROPIC = (20.0, 20.0, 20.0), (40.0, 16.0, 16.0)


@pytest.fixture(
    scope="module", params=[((48, 72, 80), ISOTROPIC), ((24, 96, 90), ANISOTROPIC)], ids=["isotropic", "anisotropic"]
)
def made(request):
    shape_vox, voxel_size_nm = request.param
    volume = generate(shape_vox, voxel_size_nm=voxel_size_nm, seed=5)
    assert volume.image.shape == volume.labels.shape == shape_vox
    return volume, np.asarray(voxel_size_nm)


def test_true_labels_score_a_nerl_of_exactly_one(made):
    volume, voxel_size_nm = made
    nodes_vox = nm_to_vox_floor(volume.skeletons.node_positions_nm, voxel_size_nm)
    scores = score_skeletons(volume.skeletons, volume.labels[tuple(nodes_vox.T)])
    assert scores.nerl == 1
    assert (scores.n_splits, scores.n_mergers) == (0, 0)


def test_every_edge_runs_inside_its_label(made):
    volume, voxel_size_nm = made
    skeletons = volume.skeletons
    start, end = skeletons.node_positions_nm[skeletons.edges.T]
    ids = skeletons.node_skeleton_ids[skeletons.edges]
    np.testing.assert_array_equal(ids[:, 0], ids[:, 1])
    for share in np.linspace(0, 1, 21):
        points_vox = nm_to_vox_floor((1 - share) * start + share * end, voxel_size_nm)
        np.testing.assert_array_equal(volume.labels[tuple(points_vox.T)], ids[:, 0])


def test_each_skeleton_is_one_tree_and_each_label_has_one(made):
    volume, _ = made
    skeletons = volume.skeletons
    n = len(skeletons.node_skeleton_ids)
    graph = coo_array((np.ones(len(skeletons.edges)), skeletons.edges.T), shape=(n, n))
    n_trees, tree = connected_components(graph, directed=False)
    ids = np.unique(skeletons.node_skeleton_ids)
    assert n_trees == len(ids) == n - len(skeletons.edges)
    assert len(np.unique(np.stack([tree, skeletons.node_skeleton_ids]), axis=1).T) == n_trees
    np.testing.assert_array_equal(ids, np.setdiff1d(volume.labels, [0]))
    np.testing.assert_array_equal(ids, np.arange(1, len(ids) + 1))


def test_each_label_is_one_6_connected_component(made):
    volume, _ = made
    for label, box in enumerate(ndimage.find_objects(volume.labels.astype(np.int32)), start=1):
        assert ndimage.label(volume.labels[box] == label)[1] == 1


def test_neurites_fill_the_volume(made):
    volume, voxel_size_nm = made
    assert np.mean(volume.labels > 0) > 0.95
    lengths = np.bincount(volume.skeletons.node_skeleton_ids[volume.skeletons.edges[:, 0]], volume.skeletons.edge_lengths_nm)[
        1:
    ]
    assert len(lengths) >= 6
    assert lengths.min() >= 800
    volumes_nm3 = np.bincount(volume.labels.ravel())[1:] * voxel_size_nm.prod()
    radii_nm = np.sqrt(volumes_nm3 / (np.pi * lengths))
    assert radii_nm.max() > 1.3 * radii_nm.min()  # of varying calibre


def test_a_seed_gives_one_volume_and_another_seed_another():
    first, same, other = (generate((24, 40, 48), seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.image, same.image)
    np.testing.assert_array_equal(first.labels, same.labels)
    np.testing.assert_array_equal(first.skeletons.node_positions_nm, same.skeletons.node_positions_nm)
    np.testing.assert_array_equal(first.skeletons.edges, same.skeletons.edges)
    assert np.mean(first.labels != other.labels) > 0.5
    assert np.mean(first.image != other.image) > 0.9


def test_the_slabs_in_which_it_is_made_do_not_show(monkeypatch):
    whole = generate((40, 40, 48), seed=6)
    monkeypatch.setattr(voxels, "SLAB_VOX", 7)
    monkeypatch.setattr(rendering, "SLAB_VOX", 5)
    parts = generate((40, 40, 48), seed=6)
    np.testing.assert_array_equal(whole.labels, parts.labels)
    np.testing.assert_array_equal(whole.image, parts.image)


def test_cut_off_voxels_join_a_neighbour():
    labels = np.array([[[1, 1, 2, 1, 1, 0, 3, 0]]], np.uint32)
    nodes_vox = np.array([[0, 0, 0], [0, 0, 2]])
    voxels._keep_connected(labels, nodes_vox)
    np.testing.assert_array_equal(labels, [[[1, 1, 2, 2, 2, 0, 0, 0]]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape_vox": (10, 10)}, r"needs three voxel counts \(z, y, x\) above 0, got \(10, 10\)"),
        ({"shape_vox": (10, 0, 10)}, r"needs three voxel counts \(z, y, x\) above 0, got \(10, 0, 10\)"),
        ({"voxel_size_nm": (20, 20, 0)}, r"needs three lengths above 0 \(z, y, x\) as voxel_size_nm, got \(20, 20, 0\)"),
        ({"voxel_size_nm": (60, 10, 10)}, r"voxels of 60 nm are too coarse for neurites of 100 nm radius"),
        ({"neurite_radius_nm": (200, 100)}, r"neurite_radius_nm must rise from the thinnest to the thickest, got \(200, 100\)"),
        ({"shape_vox": (3, 3, 3)}, r"no neurite fits into 3 x 3 x 3 voxels"),
    ],
)
def test_impossible_volumes_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        generate(**{"shape_vox": (24, 24, 24), **arguments})
