import subprocess
import sys

import networkx as nx
import numpy as np
import pytest
from blockwise import read_block
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.components import label_block, label_components, remove_small_segments
from pipeline_lib.geometry import BlockGrid

ALONE = {"goes_on_before": (False,) * 3, "goes_on_after": (False,) * 3}
AMIDST = {"goes_on_before": (True,) * 3, "goes_on_after": (True,) * 3}


def summarised_by_networkx(present, part, min_size_vox):
    """Labels and summary of one block, from the graph of all edges of the volume. present: (3, z, y, x) bool."""
    inside, graph = nx.Graph(), nx.Graph()
    faces = {(axis, side): [] for axis in range(3) for side in ("first", "last")}
    start, stop = part.write_box.start_vox, part.write_box.stop_vox

    def is_inside(voxel):
        return all(a <= i < b for a, i, b in zip(start, voxel, stop, strict=True))

    for axis, *v in np.argwhere(present).tolist():
        here, there = tuple(v), tuple(n + (a == axis) for a, n in enumerate(v))
        if there[axis] == present.shape[1 + axis]:
            continue
        graph.add_edge(here, there)
        inside.add_nodes_from(voxel for voxel in (here, there) if is_inside(voxel))
        if is_inside(here) and is_inside(there):
            inside.add_edge(here, there)
        elif is_inside(here):
            faces[axis, "last"].append(here)
        elif is_inside(there):
            faces[axis, "first"].append(there)
    at_faces = {voxel for voxels in faces.values() for voxel in voxels}
    parts = sorted(nx.connected_components(inside), key=min)
    kept = [voxels for voxels in parts if voxels & at_faces or len(voxels) >= min_size_vox]
    labels = np.zeros(present.shape[1:], np.uint32)
    for i, voxels in enumerate(kept, start=1):
        labels[tuple(np.array(list(voxels)).T)] = i
    open_ids = [i for i, voxels in enumerate(kept, start=1) if voxels & at_faces]
    places = {side: [open_ids.index(labels[voxel]) for voxel in sorted(voxels)] for side, voxels in faces.items()}
    sizes = [len(kept[i - 1]) for i in open_ids]
    return labels[part.write_box.slices], len(kept), open_ids, sizes, places


def told(block):
    """All that a block tells, as the oracle does."""
    summary = block.summary
    places = {(axis, side): getattr(summary, side)[axis].tolist() for axis in range(3) for side in ("first", "last")}
    return summary.n_labels, summary.open_ids.tolist(), summary.open_sizes_vox.tolist(), places


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.integers(1, 8)] * 3),
    block=st.tuples(*[st.integers(1, 9)] * 3),
    density=st.sampled_from([0.05, 0.15, 0.3, 0.7, 1.0]),
    min_size_vox=st.sampled_from([0, 2, 3, 8]),
    seed=st.integers(0, 2**32 - 1),
)
def test_blocks_match_the_graph_of_the_whole(shape, block, density, min_size_vox, seed):
    rng = np.random.default_rng(seed)
    present = rng.random((3, *shape)) < density
    affinities = np.where(present, rng.integers(128, 256, present.shape), rng.integers(0, 128, present.shape)).astype(np.uint8)
    grid = BlockGrid(shape, block)
    for part in (grid[i] for i in rng.permutation(len(grid))[:4].tolist()):
        expected, *summary = summarised_by_networkx(present, part, min_size_vox)
        for threads in (1, 3):
            found = label_block(**read_block(affinities, part), threshold=0.5, min_size_vox=min_size_vox, threads=threads)
            np.testing.assert_array_equal(found.labels, expected)
            assert told(found) == tuple(summary)


def test_types():
    block = label_block(np.full((3, 4, 5, 6), 255, np.uint8), 0.5, **AMIDST)
    summary = block.summary
    assert block.labels.shape == (3, 4, 5)
    assert type(summary.n_labels) is int
    for array in (block.labels, summary.open_ids, summary.open_sizes_vox, *summary.first, *summary.last):
        assert array.dtype == np.uint32
        assert array.flags.c_contiguous
    assert [len(edges) for edges in summary.first] == [len(edges) for edges in summary.last] == [20, 15, 12]
    assert (summary.open_ids.tolist(), summary.open_sizes_vox.tolist()) == ([1], [60])


@pytest.mark.parametrize("min_size_vox", [0, 1, 2, 3, 9, 1000])
def test_a_block_alone_is_a_whole_volume(min_size_vox):
    affinities = np.random.default_rng(51).integers(0, 256, (3, 7, 8, 9), np.uint8)
    block = label_block(affinities, 0.75, min_size_vox=min_size_vox, **ALONE)
    np.testing.assert_array_equal(block.labels, remove_small_segments(label_components(affinities, 0.75), min_size_vox))
    assert told(block) == (block.labels.max(), [], [], {(a, side): [] for a in range(3) for side in ("first", "last")})


@pytest.mark.parametrize("axis", range(3))
def test_a_voxel_whose_only_edge_leads_out_has_an_id_and_stays_whatever_its_size(axis):
    """A row of three voxels amidst others, with edges into it and out of it but none inside."""
    shape = [1, 1, 1]
    shape[axis] = 4
    affinities = np.zeros((3, *shape), np.uint8)
    affinities[axis] = np.array([200, 0, 0, 200], np.uint8).reshape(shape)
    flags = tuple(a == axis for a in range(3))
    for min_size_vox in (0, 50):
        block = label_block(affinities, 0.5, goes_on_before=flags, goes_on_after=flags, min_size_vox=min_size_vox)
        assert block.labels.ravel().tolist() == [1, 0, 2]
        assert block.summary.open_ids.tolist() == [1, 2]
        assert block.summary.open_sizes_vox.tolist() == [1, 1]
        assert block.summary.first[axis].tolist() == [0]
        assert block.summary.last[axis].tolist() == [1]
        alone = label_block(affinities, 0.5, min_size_vox=min_size_vox, **ALONE)
        assert alone.labels.ravel().tolist() == ([1, 1, 0, 0] if min_size_vox == 0 else [0, 0, 0, 0])


def test_a_single_voxel_with_edges_on_all_sides():
    block = label_block(np.full((3, 2, 2, 2), 255, np.uint8), 0.5, **AMIDST)
    assert block.labels.tolist() == [[[1]]]
    assert told(block) == (1, [1], [1], {(axis, side): [0] for axis in range(3) for side in ("first", "last")})


def test_what_is_stored_beside_the_block_but_leads_elsewhere_is_not_used():
    """In the extra planes only the edges into the block count: not those along the planes, nor any at their corners."""
    rng = np.random.default_rng(52)
    affinities = rng.random((3, 6, 7, 8)).astype(np.float32)
    used = np.zeros(affinities.shape, bool)
    used[:, 1:, 1:, 1:] = True
    for axis in range(3):
        used[axis][tuple(slice(0 if a == axis else 1, None) for a in range(3))] = True
    expected = label_block(affinities, 0.8, min_size_vox=4, **AMIDST)
    for other in (np.nan, np.inf, 1, 0):
        changed = np.where(used, affinities, np.float32(other))
        found = label_block(changed, 0.8, min_size_vox=4, **AMIDST)
        np.testing.assert_array_equal(found.labels, expected.labels)
        assert told(found) == told(expected)


def test_edges_out_of_the_volume_are_ignored():
    affinities = np.zeros((3, 2, 3, 4), np.uint8)
    for axis in range(3):
        np.moveaxis(affinities[axis], axis, 0)[-1] = 255
    assert not label_block(affinities, 0.5, **ALONE).labels.any()
    along_y = label_block(affinities, 0.5, goes_on_before=(False,) * 3, goes_on_after=(False, True, False))
    assert along_y.labels[:, -1].ravel().tolist() == list(range(1, 9))
    assert not along_y.labels[:, :-1].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.701, 1.0])
def test_all_types_go_by_the_threshold_itself_at_faces_too(dtype, threshold):
    rng = np.random.default_rng(53)
    affinities = rng.integers(0, 256, (3, 6, 7, 8)) / 255
    affinities[rng.random(affinities.shape) < 0.1] = threshold
    if dtype == np.uint8:
        affinities = np.rint(255 * affinities).astype(np.uint8)
        present = affinities > np.floor(255 * threshold + 1e-9)
    else:
        affinities = affinities.astype(dtype)
        affinities[rng.random(affinities.shape) < 0.1] = np.nan
        affinities[rng.random(affinities.shape) < 0.1] = np.inf
        present = affinities.astype(np.float64) > threshold
    for part in BlockGrid((6, 7, 8), (4, 3, 5)):
        expected, *summary = summarised_by_networkx(present, part, 3)
        found = label_block(**read_block(affinities, part), threshold=threshold, min_size_vox=3)
        np.testing.assert_array_equal(found.labels, expected)
        assert told(found) == tuple(summary)


def test_views_and_read_only_arrays():
    affinities = np.random.default_rng(54).integers(0, 256, (6, 6, 5, 7), np.uint8)
    view = affinities[::2, :, ::-1]
    expected = label_block(view.copy(), 0.7, **AMIDST)
    view.flags.writeable = False
    found = label_block(view, 0.7, **AMIDST)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert told(found) == told(expected)


@pytest.mark.parametrize("edges", ["none", "pairs"])
def test_memory_beyond_the_input_is_about_twice_the_labels(edges):
    """In a process of its own: without edges every voxel is a run, with pairs there are most components."""
    code = f"""
from pathlib import Path
import numpy as np
from pipeline_lib.components import label_block
def peak():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
options = dict(goes_on_before=(True,) * 3, goes_on_after=(True,) * 3, min_size_vox=3, threads=2)
small, large = (np.zeros((3, n, 257, 257), np.uint8) for n in (3, 385))
for affinities in (small, large):
    affinities[:] = 1
    if {edges!r} == "pairs":
        affinities[0, 1::2] = 255
label_block(small, 0.5, **options)
before = peak()
labels = label_block(large, 0.5, **options).labels
print((peak() - before) / labels.nbytes)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 < float(told.stdout) < 2.2


@pytest.mark.parametrize(
    ("affinities", "options", "message"),
    [
        (np.zeros((2, 2, 2, 2), np.uint8), {}, r"expected affinities \(3, z, y, x\) .* got shape \(2, 2, 2, 2\)"),
        (np.zeros((3, 2, 2, 2)), {}, "type uint8, float16 or float32, got float64"),
        (np.zeros((3, 2, 2, 2), np.uint8), {"threshold": 1.5}, "a threshold lies between 0 and 1, got 1.5"),
        (np.zeros((3, 2, 2, 2), np.uint8), {"threads": 0}, "threads must be at least 1, got 0"),
        (np.zeros((3, 2, 1, 2), np.uint8), AMIDST, r"a block must hold voxels, got \(1, 0, 1\) without the planes before it"),
        (np.zeros((3, 2, 0, 2), np.uint8), {}, r"a block must hold voxels, got \(2, 0, 2\)"),
        (
            np.broadcast_to(np.uint8(0), (3, 2**11, 2**11, 2**10)),
            {},
            r"a block must have fewer than 2\*\*32 - 1 voxels, got \(2048, 2048, 1024\): take smaller blocks",
        ),
    ],
)
def test_refuses(affinities, options, message):
    with pytest.raises(ValueError, match=message):
        label_block(affinities, **{"threshold": 0.5, **ALONE} | options)
