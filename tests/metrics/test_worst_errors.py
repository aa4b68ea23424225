from collections import defaultdict

import numpy as np
import pytest

from pipeline_lib.metrics import SkeletonError, score_skeletons, worst_errors
from pipeline_lib.skeletons import Skeletons


def lines(*parts):
    """Straight skeletons, 100 nm apart in y, nodes 10 nm apart in x; a part is (skeleton id, segment of each node)."""
    positions_nm, ids, segments, edges = [], [], [], []
    for y, (skeleton, segments_of) in enumerate(parts):
        edges += [(len(ids) + i, len(ids) + i + 1) for i in range(len(segments_of) - 1)]
        positions_nm += [(0, 100 * y, 10 * x) for x in range(len(segments_of))]
        ids += [skeleton] * len(segments_of)
        segments += segments_of
    return Skeletons(np.array(positions_nm), np.array(ids), np.array(edges)), np.array(segments)


def test_a_split():
    skeletons, segments = lines((4, [1, 1, 1, 2, 2, 2, 2]))
    loss_nm = (60**2 - 20**2 - 30**2) / 60
    assert worst_errors(skeletons, segments) == [SkeletonError("split", (1, 2), (4,), (0, 0, 25), loss_nm)]


def test_alternating_segments_are_one_split():
    skeletons, segments = lines((4, [1, 1, 2, 1, 1, 2, 2]))
    (error,) = worst_errors(skeletons, segments)
    assert error == SkeletonError("split", (1, 2), (4,), (0, 0, 15), (60**2 - 20**2 - 10**2) / 60)


def test_a_split_through_background():
    """Runs of 10, 30 and 0 nm around two nodes of background: the middle of a star, of which one branch is background too."""
    skeletons, segments = lines((4, [1, 1, 0, 0, 2, 2, 2, 2]), (5, [7, 7]), (4, [3, 0]))
    edges = [*skeletons.edges, (3, 10)]
    (error, ending) = worst_errors(Skeletons(skeletons.node_positions_nm, skeletons.node_skeleton_ids, edges), segments)
    branch_nm = np.hypot(200, 30)
    total_nm = 70 + 10 + 10 + branch_nm
    assert (error.kind, error.segment_ids, error.skeleton_ids, error.position_nm) == ("split", (2, 1, 3), (4,), (0, 0, 20))
    assert error.loss_nm == pytest.approx(((70 + branch_nm) ** 2 - 10**2 - 30**2) / total_nm)
    assert (ending.kind, ending.segment_ids, ending.skeleton_ids, ending.position_nm) == ("gap", (3,), (4,), (0, 200, 10))
    assert ending.loss_nm == pytest.approx(10**2 / total_nm)


def test_gaps_inside_a_segment_at_its_end_and_all_along():
    skeletons, segments = lines((4, [8, 8, 0, 8, 8, 8, 8]), (5, [9, 9, 9, 0, 0]), (6, [0, 0, 0]))
    total_nm = 60 + 40 + 20
    assert worst_errors(skeletons, segments) == [
        SkeletonError("gap", (8,), (4,), (0, 0, 20), (60**2 - 40**2) / total_nm),
        SkeletonError("gap", (9,), (5,), (0, 100, 30), (40**2 - 20**2) / total_nm),
        SkeletonError("gap", (), (6,), (0, 200, 10), 20**2 / total_nm),
    ]


def test_a_merger_of_three():
    """Segment 8 runs 40 nm in skeleton 5, 20 nm in skeleton 6 and 10 nm in skeleton 4."""
    skeletons, segments = lines((4, [0, 8, 8, 0, 0]), (5, [8, 8, 8, 8, 8]), (6, [0, 0, 8, 8, 8, 0]))
    (error,) = [error for error in worst_errors(skeletons, segments) if error.kind == "merger"]
    assert (error.segment_ids, error.skeleton_ids) == ((8,), (5, 6, 4))
    assert error.position_nm == (0, 200, 20)
    assert error.loss_nm == pytest.approx((40**2 + 20**2 + 10**2) / (40 + 40 + 50))


def check_repairs(skeletons, segments, tolerance):
    """Every merger gains what it says; how many there are."""
    total = score_skeletons(skeletons, segments, merge_tolerance=tolerance)
    mergers = [error for error in worst_errors(skeletons, segments, merge_tolerance=tolerance) if error.kind == "merger"]
    for error in mergers:
        cut = np.where(segments == error.segment_ids[0], 100 + skeletons.node_skeleton_ids, segments)
        repaired = score_skeletons(skeletons, cut, merge_tolerance=tolerance)
        assert repaired.erl_nm - total.erl_nm == pytest.approx(error.loss_nm, abs=1e-9)
    return len(mergers)


def test_repairing_a_merger_gains_what_was_said():
    skeletons, segments = lines((4, [1] * 9), (5, [1] * 4 + [2] * 8), (6, [2] * 3))
    assert check_repairs(skeletons, segments, 0) == 2
    assert {error.kind for error in worst_errors(skeletons, segments)} == {"merger", "split"}


@pytest.mark.parametrize("tolerance", [0, 2, 4])
def test_repairs_under_a_tolerance(tolerance):
    """Runs below the tolerance count or not by what their skeleton does elsewhere."""
    few = lines((1, [1] * 5), (2, [1] * 4), (3, [1, 1, 2, 2, 2, 2]), (4, [2] * 4))
    n_mergers = check_repairs(*few, tolerance)
    rng = np.random.default_rng(32)
    for _ in range(40):
        parts = ((i, np.repeat(rng.integers(0, 5, 4), rng.integers(1, 7, 4)).tolist()) for i in range(1, 6))
        n_mergers += check_repairs(*lines(*parts), tolerance)
    assert n_mergers > 40


@pytest.mark.parametrize("seed", range(4))
def test_repairing_a_split_or_a_gap_gains_what_was_said(seed):
    """Runs with ids of their own, some of them background; a repair gives one id to the segments and what lies between."""
    rng = np.random.default_rng(seed)
    runs = np.where(rng.random((6, 12)) < 0.3, 0, np.arange(1, 73).reshape(6, 12))
    skeletons, segments = lines(*((i, np.repeat(runs[i - 1], rng.integers(1, 4, 12)).tolist()) for i in range(1, 7)))
    order = rng.permutation(len(segments))
    place = np.argsort(order)
    ids, edges = skeletons.node_skeleton_ids[order], rng.permutation(place[skeletons.edges])
    skeletons, segments = Skeletons(skeletons.node_positions_nm[order], ids, edges), segments[order]
    erl_nm = score_skeletons(skeletons, segments).erl_nm
    seen = set()
    for error in worst_errors(skeletons, segments, limit=1000):
        nodes = np.flatnonzero(np.isin(segments, error.segment_ids) & (ids == error.skeleton_ids[0]))
        at = np.flatnonzero((skeletons.node_positions_nm == error.position_nm).all(axis=1))
        if len(at):  # a stretch of background: along x from its middle node as far as it goes
            (middle,) = at
            row = np.flatnonzero(ids == ids[middle])
            row = row[np.argsort(skeletons.node_positions_nm[row, 2])]
            filled = np.flatnonzero(segments[row] != 0)
            i = int(np.flatnonzero(row == middle)[0])
            before, after = filled[filled < i].max(initial=-1), filled[filled > i].min(initial=len(row))
            nodes = np.append(nodes, row[before + 1 : after])
        repaired = segments.copy()
        repaired[nodes] = 99
        assert score_skeletons(skeletons, repaired).erl_nm - erl_nm == pytest.approx(error.loss_nm, abs=1e-9)
        seen.add((error.kind, len(error.segment_ids), bool(len(at))))
    assert seen >= {("split", 2, False), ("split", 2, True), ("gap", 1, True)}
    losses = [error.loss_nm for error in worst_errors(skeletons, segments, limit=1000)]
    assert len(losses) > 20
    assert losses == sorted(losses, reverse=True)


def test_sorted_by_loss_and_limited():
    rng = np.random.default_rng(31)
    skeletons, segments = lines(*((i, np.repeat(rng.integers(0, 30, 10), 6).tolist()) for i in range(1, 9)))
    everything = worst_errors(skeletons, segments, limit=1000)
    losses = [error.loss_nm for error in everything]
    assert losses == sorted(losses, reverse=True)
    assert len({error.kind for error in everything[:20]}) == 2
    assert worst_errors(skeletons, segments, limit=7) == everything[:7]
    assert worst_errors(skeletons, segments, limit=0) == []
    scores = score_skeletons(skeletons, segments)
    mergers = [(error.segment_ids[0], i) for error in everything if error.kind == "merger" for i in error.skeleton_ids]
    assert sorted(mergers) == sorted(map(tuple, scores.mergers[scores.mergers[:, 0] != 0].tolist()))


@pytest.mark.parametrize("seed", range(3))
def test_splits_match_a_walk_along_the_edges(seed):
    rng = np.random.default_rng(seed)
    skeletons, segments = lines(*((i, np.repeat(rng.integers(0, 6, 20), 3).tolist()) for i in range(1, 5)))
    order = rng.permutation(len(skeletons.edges))
    skeletons = Skeletons(skeletons.node_positions_nm, skeletons.node_skeleton_ids, skeletons.edges[order])
    inside, between, first = defaultdict(float), defaultdict(float), {}
    for a, b in skeletons.edges:
        skeleton, ends = int(skeletons.node_skeleton_ids[a]), (int(segments[a]), int(segments[b]))
        if ends[0] == ends[1]:
            inside[skeleton, ends[0]] += 10
        elif 0 not in ends:
            middle = skeletons.node_positions_nm[[a, b]].mean(axis=0)
            first.setdefault((skeleton, *sorted(ends)), tuple(middle.tolist()))
            between[skeleton, *sorted(ends)] += 10
    expected = set()
    for (i, low, high), place in first.items():
        runs_nm = inside[i, low], inside[i, high]
        gain_nm2 = (sum(runs_nm) + between[i, low, high]) ** 2 - runs_nm[0] ** 2 - runs_nm[1] ** 2
        expected.add(SkeletonError("split", (low, high), (i,), place, gain_nm2 / skeletons.edge_lengths_nm.sum()))
    found = {error for error in worst_errors(skeletons, segments, limit=1000) if error.kind == "split"}
    through_background = {error for error in found if error.position_nm[2] % 10 == 0}
    assert len(found - through_background) > 20
    assert found - through_background == expected


def test_tolerance_and_background_hide_mergers():
    skeletons, segments = lines((4, [8, 8, 8, 0]), (5, [8, 0, 0, 0]))
    assert [error.kind for error in worst_errors(skeletons, segments)] == ["gap", "gap", "merger"]
    assert [error.kind for error in worst_errors(skeletons, segments, merge_tolerance=1)] == ["gap", "gap"]


def test_skeleton_0_and_edges_between_skeletons():
    skeletons, segments = lines((0, [1, 1, 2]), (4, [1, 1, 1]), (5, [3, 3]))
    assert worst_errors(skeletons, segments) == []
    crossing = Skeletons(skeletons.node_positions_nm, skeletons.node_skeleton_ids, [*skeletons.edges, (5, 6)])
    assert worst_errors(crossing, segments) == []
    between_zeros = Skeletons(skeletons.node_positions_nm, skeletons.node_skeleton_ids, [*skeletons.edges, (2, 3)])
    assert worst_errors(between_zeros, np.where(skeletons.node_skeleton_ids == 0, 0, segments)) == []


def test_nothing_wrong():
    assert worst_errors(*lines((4, [1, 1, 1]), (5, [2, 2]))) == []
