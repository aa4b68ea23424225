import subprocess
import sys
from pathlib import Path

import h5py
import networkx as nx
import numpy as np
import pytest
from adversarial_edges import adversarial
from components_by_scipy import labelled_by_scipy

from pipeline_lib.components import label_components, level_of
from pipeline_lib.components.links import link_above
from pipeline_lib.components.slabs import label_links

REFERENCE = Path(__file__).parents[1] / "reference" / "affinities_and_components.npz"


def labelled_by_networkx(present, foreground=None):
    """The same rules, from the graph of present edges."""
    graph = nx.Graph()
    shape_vox = present.shape[1:]
    for axis, *v in np.argwhere(present):
        w = list(v)
        w[axis] += 1
        ends = (tuple(v), tuple(w))
        inside = w[axis] < shape_vox[axis]
        if inside and (foreground is None or all(foreground[end] for end in ends)):
            graph.add_edge(*ends)
    labels = np.zeros(shape_vox, np.uint32)
    for i, component in enumerate(sorted(nx.connected_components(graph), key=min), start=1):
        labels[tuple(np.array(list(component)).T)] = i
    return labels


@pytest.mark.parametrize("name", adversarial())
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_adversarial_edges_on_any_number_of_threads(name, threads):
    present = adversarial()[name]
    expected = labelled_by_scipy(present)
    np.testing.assert_array_equal(label_components(present * np.uint8(255), 0.5, threads=threads), expected)
    if name == "one spiral":
        assert expected.max() == 1
        assert (expected > 0).sum() > 400


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_real_affinities(shared_data, dtype):
    with h5py.File(shared_data / "fib25" / "val_affinities.h5") as file:
        stored = file["affinities"][:3, :20, :100, :100]
    affinities = stored if dtype == np.uint8 else (stored / 255).astype(dtype)
    for threshold in (0.3, 0.8, 0.996):
        limit = np.floor(255 * threshold + 1e-9) if dtype == np.uint8 else threshold
        expected = labelled_by_scipy(affinities.astype(float) > limit)
        for threads in (1, 2):
            np.testing.assert_array_equal(label_components(affinities, threshold, threads=threads), expected)


def test_ids_beyond_uint32_take_the_same_way():
    affinities = np.random.default_rng(32).integers(0, 256, (3, 9, 10, 11), np.uint8)

    def links_from(_):
        return lambda z, links: link_above(affinities, np.uint8(150), np.uint8(255), z, links)

    labels, n_segments = label_links((9, 10, 11), links_from, threads=3, dtype=np.uint64)
    assert labels.dtype == np.uint64
    np.testing.assert_array_equal(labels, label_components(affinities, 150 / 255))
    assert n_segments == labels.max()


@pytest.mark.parametrize("shape", [(0, 4, 5), (3, 0, 5), (3, 4, 0), (1, 1, 1)])
def test_nothing_to_join(shape):
    labels = label_components(np.full((3, *shape), 255, np.uint8), 0.5)
    assert labels.shape == shape
    assert labels.dtype == np.uint32
    assert not labels.any()


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_memory_beyond_the_input_is_at_most_twice_the_labels(dtype):
    """In a process of its own, with no edge at all: then every voxel is a run, which takes the most.

    A boolean copy of the input would add 0.75, one as float32 3.
    """
    code = f"""
from pathlib import Path
import numpy as np
from pipeline_lib.components import label_components
def peak():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
small, large = (np.zeros((3, n, 256, 256), "{dtype}") for n in (2, 256))
large[:] = 1 if large.dtype == np.uint8 else 1 / 255
label_components(small, 0.5)
before = peak()
labels = label_components(large, 0.5)
print((peak() - before) / labels.nbytes)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 < float(told.stdout) < 2.05


@pytest.mark.parametrize("case", [0, 1, 2])
def test_matches_the_reference_values(case):
    with np.load(REFERENCE) as reference:
        bits, shape, segmentation = (
            reference[f"components/{case}/{name}"] for name in ("hard_affinities", "shape", "segmentation")
        )
    present = np.unpackbits(bits)[: shape.prod()].reshape(shape)
    np.testing.assert_array_equal(label_components(present * np.uint8(255), 0.5), segmentation)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7, 0.701, 0.8, 0.93, 1.0])
def test_matches_a_graph_of_edges(dtype, threshold):
    affinities = np.random.default_rng(5).random((3, 5, 6, 7))
    affinities = np.rint(255 * affinities).astype(np.uint8) if dtype == np.uint8 else affinities.astype(dtype)
    limit = np.floor(255 * threshold + 1e-9) if dtype == np.uint8 else threshold
    present = affinities.astype(np.float64) > limit
    labels = label_components(affinities, threshold)
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels, labelled_by_networkx(present))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_floats_are_compared_with_the_threshold_itself(dtype):
    """The nearest float to a threshold may lie on either side of it; an affinity equal to that float goes by its own value."""
    for threshold in np.random.default_rng(6).random(200):
        nearest = dtype(threshold)
        values = [np.nextafter(nearest, dtype(0)), nearest, np.nextafter(nearest, dtype(1))]
        for value in values:
            affinities = np.zeros((3, 1, 1, 2), dtype)
            affinities[2, 0, 0, 0] = value
            assert label_components(affinities, threshold).max() == (float(value) > threshold)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_odd_floats(dtype):
    affinities = np.zeros((3, 1, 5, 2), dtype)
    affinities[2, 0, :, 0] = [np.nan, -0.9, np.inf, -np.inf, -0.0]
    assert label_components(affinities, 0.0)[0, :, 0].tolist() == [0, 0, 1, 0, 0]


def test_uint8_levels():
    assert [level_of(n / 255) for n in range(256)] == list(range(256))
    assert level_of(0.5) == 127
    affinities = np.zeros((3, 1, 1, 4), np.uint8)
    affinities[2, 0, 0] = [127, 128, 0, 255]
    assert label_components(affinities, 0.5)[0, 0].tolist() == [0, 1, 1, 0]
    assert label_components(affinities, 126 / 255)[0, 0].tolist() == [1, 1, 1, 0]


def test_touching_slabs_stay_apart():
    """Every voxel has an edge above the threshold, but none leads across."""
    labels = np.repeat(np.array([4, 4, 9, 9, 9], np.uint32), 12).reshape(5, 3, 4)
    affinities = np.zeros((3, *labels.shape), np.uint8)
    affinities[0, :-1] = 255 * (labels[:-1] == labels[1:])
    affinities[1:] = 255
    np.testing.assert_array_equal(label_components(affinities, 0.9), np.where(labels == 4, 1, 2))


def test_edges_out_of_the_volume_are_ignored():
    affinities = np.zeros((3, 2, 3, 4), np.uint8)
    for axis in range(3):
        np.moveaxis(affinities[axis], axis, 0)[-1] = 255
    assert not label_components(affinities, 0.5).any()


def test_foreground_removes_edges():
    rng = np.random.default_rng(7)
    affinities = rng.integers(0, 256, (3, 5, 6, 7), np.uint8)
    foreground = rng.random((5, 6, 7)) > 0.2
    labels = label_components(affinities, 0.6, foreground=foreground)
    np.testing.assert_array_equal(labels, label_components(affinities, 0.6, foreground=foreground, threads=4))
    np.testing.assert_array_equal(labels, labelled_by_networkx(affinities > 153, foreground))
    assert not labels[~foreground].any()


def test_views_and_read_only_arrays():
    affinities = np.random.default_rng(8).integers(0, 256, (6, 6, 5, 7), np.uint8)
    view = affinities[::2, :, ::-1]
    expected = label_components(view.copy(), 0.7)
    view.flags.writeable = False
    np.testing.assert_array_equal(label_components(view, 0.7), expected)
    frozen = view.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(label_components(frozen, 0.7), expected)


@pytest.mark.parametrize(
    ("affinities", "options", "message"),
    [
        (np.zeros((6, 2, 2, 2), np.uint8), {}, r"expected affinities \(3, z, y, x\) .* got shape \(6, 2, 2, 2\)"),
        (np.zeros((3, 2, 2), np.uint8), {}, r"expected affinities \(3, z, y, x\) .* got shape \(3, 2, 2\)"),
        (np.zeros((3, 2, 2, 2)), {}, "type uint8, float16 or float32, got float64"),
        (np.zeros((3, 2, 2, 2), np.uint8), {"threshold": 1.5}, "a threshold lies between 0 and 1, got 1.5"),
        (np.zeros((3, 2, 2, 2), np.uint8), {"threshold": float("nan")}, "a threshold lies between 0 and 1, got nan"),
        (np.zeros((3, 2, 2, 2), np.uint8), {"foreground": np.ones((2, 2, 3), bool)}, r"foreground must be bool \(2, 2, 2\)"),
        (np.zeros((3, 2, 2, 2), np.uint8), {"foreground": np.ones((2, 2, 2))}, r"foreground must be bool .* got float64"),
        (np.zeros((3, 2, 2, 2), np.uint8), {"threads": 0}, "threads must be at least 1, got 0"),
    ],
)
def test_refuses(affinities, options, message):
    with pytest.raises(ValueError, match=message):
        label_components(affinities, **{"threshold": 0.5} | options)
