import heapq

import networkx as nx
import numpy as np
import pytest

from pipeline_lib.components import flood_segments, grow_segments, label_components

SHAPE_VOX = (5, 6, 7)
FACES = np.vstack([np.eye(3, dtype=int), -np.eye(3, dtype=int)])


def random_case(seed):
    """Affinities, and seeds that touch one another here and there."""
    rng = np.random.default_rng(seed)
    affinities = rng.integers(0, 256, (3, *SHAPE_VOX), np.uint8)
    seeds = np.where(rng.random(SHAPE_VOX) < 0.1, rng.integers(1, 9, SHAPE_VOX), 0).astype(np.uint32)
    return affinities, seeds


def strengths_by_brute_force(affinities):
    strengths = np.zeros(SHAPE_VOX, int)
    for v in np.ndindex(SHAPE_VOX):
        edges = []
        for axis, step in enumerate(np.eye(3, dtype=int)):
            if v[axis] + 1 < SHAPE_VOX[axis]:
                edges.append(int(affinities[(axis, *v)]))
            if v[axis] > 0:
                edges.append(int(affinities[(axis, *(v - step))]))
        strengths[v] = int(np.floor(np.mean(edges) + 0.5))
    return strengths


def bottlenecks(strengths, seeds, free):
    """For every id, the weakest voxel on the widest way from it to each free voxel, from the components at each level."""
    widest = {i: np.full(SHAPE_VOX, -1) for i in np.unique(seeds[seeds > 0]).tolist()}
    for level in sorted(set(strengths[free].tolist())):
        passable = free & (strengths >= level)
        for label, reached in widest.items():
            graph = nx.Graph()
            for v in np.argwhere(passable | (seeds == label)):
                graph.add_node(tuple(v))
                for w in v + FACES[:3]:
                    if (w < SHAPE_VOX).all() and (passable | (seeds == label))[tuple(w)]:
                        graph.add_edge(tuple(v), tuple(w))
            for component in nx.connected_components(graph):
                if any(seeds[v] == label for v in component):
                    reached[tuple(np.array(list(component)).T)] = level
    return widest


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_voxel_joins_by_its_widest_way(seed):
    affinities, seeds = random_case(seed)
    affinities = affinities // 16 * 16  # fewer levels for the oracle
    seeds[seeds > 4] = 0
    flooded = flood_segments(seeds, affinities)
    widest = bottlenecks(strengths_by_brute_force(affinities), seeds, seeds == 0)
    best = np.max(list(widest.values()), axis=0)
    decided = 0
    for v in np.argwhere(seeds == 0):
        among = [label for label, reached in widest.items() if reached[tuple(v)] == best[tuple(v)]]
        assert flooded[tuple(v)] in among
        decided += len(among) == 1
    assert decided > 10
    np.testing.assert_array_equal(flooded[seeds > 0], seeds[seeds > 0])
    assert flooded.all()


def flooded_by_heap(affinities, seeds, free):
    labels, free, strengths = seeds.copy(), free.copy(), strengths_by_brute_force(affinities)
    order = iter(range(10**6))
    heap = [(-255, next(order), tuple(v)) for v in np.argwhere(seeds > 0)]
    heapq.heapify(heap)
    while heap:
        level, _, v = heapq.heappop(heap)
        for axis in range(3):
            for step in (-FACES[axis], FACES[axis]):
                w = tuple(np.add(v, step))
                if all(0 <= i < n for i, n in zip(w, SHAPE_VOX, strict=True)) and free[w]:
                    free[w], labels[w] = False, labels[v]
                    heapq.heappush(heap, (max(level, -strengths[w]), next(order), w))
    return labels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64])
@pytest.mark.parametrize("masked", [False, True])
def test_ties_go_to_the_first_to_arrive(dtype, masked):
    affinities, seeds = random_case(3)
    affinities = affinities // 64 * 64  # plateaus
    seeds = seeds.astype(dtype)
    foreground = np.random.default_rng(4).random(SHAPE_VOX) < 0.7 if masked else None
    free = seeds == 0 if foreground is None else (seeds == 0) & foreground
    before = seeds.copy()
    flooded = flood_segments(seeds, affinities, foreground=foreground)
    np.testing.assert_array_equal(flooded, flooded_by_heap(affinities, seeds, free))
    np.testing.assert_array_equal(seeds, before)
    assert flooded.dtype == dtype
    if masked:
        np.testing.assert_array_equal(flooded[~foreground], seeds[~foreground])


def test_lowest_leaves_weak_voxels_and_what_lies_behind_them():
    affinities, seeds = random_case(5)
    strengths = strengths_by_brute_force(affinities)
    flooded = flood_segments(seeds, affinities, lowest=130 / 255)
    np.testing.assert_array_equal(flooded, flooded_by_heap(affinities, seeds, (seeds == 0) & (strengths >= 130)))
    assert not flooded[(seeds == 0) & (strengths < 130)].any()


def test_floats_flood_like_the_same_uint8():
    affinities, seeds = random_case(6)
    expected = flood_segments(seeds, affinities)
    np.testing.assert_array_equal(flood_segments(seeds, affinities / np.float32(255) - np.float32(1e-6)), expected)


def test_segments_meet_at_the_membrane_and_not_half_way():
    affinities = np.full((3, 1, 1, 12), 250, np.uint8)
    affinities[2, 0, 0, 8:10] = 20  # voxel 9 is membrane
    seeds = np.zeros((1, 1, 12), np.uint32)
    seeds[0, 0, [0, 11]] = [1, 2]
    assert flood_segments(seeds, affinities)[0, 0, :9].tolist() == [1] * 9
    assert flood_segments(seeds, affinities)[0, 0, 10:].tolist() == [2, 2]
    assert grow_segments(seeds, 12)[0, 0].tolist() == [1] * 6 + [2] * 6


def test_a_leaking_edge_does_not_carry_a_segment_through_a_membrane():
    """Components merge by the one strong edge; flooded from seeds, both sides keep their own."""
    affinities = np.full((3, 1, 9, 9), 255, np.uint8)
    affinities[:, :, 3:5] = 10  # membrane row y = 4, and the edges into it from y = 3
    affinities[:, 0, 3:5, 6] = 255
    assert label_components(affinities, 0.9).max() == 1
    seeds = np.zeros((1, 9, 9), np.uint32)
    seeds[0, 0, 6], seeds[0, 8, 0] = 1, 2
    flooded = flood_segments(seeds, affinities)
    assert (flooded[0, :3] == 1).all()
    assert (flooded[0, 5:] == 2).all()


def test_empty_and_full():
    affinities, seeds = random_case(7)
    assert not flood_segments(np.zeros_like(seeds), affinities).any()
    np.testing.assert_array_equal(flood_segments(seeds + 1, affinities), seeds + 1)
    assert flood_segments(np.ones((1, 1, 1), np.uint8), np.zeros((3, 1, 1, 1), np.uint8)).item() == 1


def test_refuses():
    affinities, seeds = random_case(8)
    with pytest.raises(ValueError, match=r"labels must have the shape \(5, 6, 7\) of the affinities, got \(5, 6, 6\)"):
        flood_segments(seeds[..., :6], affinities)
    with pytest.raises(ValueError, match=r"foreground must have the shape \(5, 6, 7\) of the affinities, got \(4, 6, 7\)"):
        flood_segments(seeds, affinities, foreground=np.ones((4, 6, 7), bool))
    with pytest.raises(ValueError, match=r"expected affinities \(3, z, y, x\)"):
        flood_segments(seeds, affinities[:2])
    with pytest.raises(ValueError, match="a threshold lies between 0 and 1, got -1"):
        flood_segments(seeds, affinities, lowest=-1)
