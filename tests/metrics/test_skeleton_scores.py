import json
import math
from collections import defaultdict
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from pipeline_lib.errors import UserError
from pipeline_lib.metrics import score_skeletons
from pipeline_lib.skeletons import Skeletons

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "skeleton_metrics.json").read_text())


def reference_case(case):
    nodes = case["nodes"]
    skeletons = Skeletons(np.array(nodes["position_nm"]), np.array(nodes["skeleton_id"]), np.array(case["edges"]))
    return skeletons, np.array(nodes["segment_id"])


@pytest.mark.parametrize("case", REFERENCE["cases"])
def test_matches_the_reference_values(case):
    skeletons, segments = reference_case(case)
    scores, expected = score_skeletons(skeletons, segments), case["expected"]
    names = {"erl_nm": "expected_run_length", "max_erl_nm": "max_expected_run_length"}
    for name in ("nerl", "erl_nm", "max_erl_nm", "voi_split", "voi_merge", "rand_split", "rand_merge"):
        assert getattr(scores, name) == pytest.approx(expected[names.get(name, name)], rel=1e-6, abs=1e-6), name
    for name in ("n_splits", "n_mergers", "n_non0_mergers"):
        assert getattr(scores, name) == expected[name], name
    splits = dict(zip(scores.skeleton_ids.tolist(), scores.skeleton_n_splits.tolist(), strict=True))
    assert {str(i): n for i, n in splits.items() if n} == expected["splits_by_skeleton"]
    merged = defaultdict(list)
    for segment, skeleton in sorted(scores.mergers.tolist()):
        merged[str(segment)].append(skeleton)
    assert merged == expected["merged_skeletons_by_segment"]
    for tolerance, nerl in expected["nerl_ignoring_mergers_up_to"].items():
        assert scores.nerl_by_tolerance[tolerance] == pytest.approx(nerl, abs=1e-6), tolerance
        assert score_skeletons(skeletons, segments, merge_tolerance=float(tolerance)).nerl == pytest.approx(nerl, abs=1e-6)


def test_the_reference_values_tell_tolerances_apart():
    curves = [case["expected"]["nerl_ignoring_mergers_up_to"] for case in REFERENCE["cases"]]
    assert any(len(set(curve.values())) > 2 for curve in curves)


def random_case(seed, n_skeletons=9):
    """Random trees in segments that split, merge and lose them; skeleton 0, single nodes and edges between trees among them."""
    rng = np.random.default_rng(seed)
    sizes = [1, *rng.integers(2, 60, n_skeletons - 1)]
    ids = np.repeat(rng.permutation(n_skeletons), sizes)
    edges, first = [], 0
    for size in sizes:
        edges += [(first + rng.integers(max(0, i - 3), i), first + i)[:: rng.choice([-1, 1])] for i in range(1, size)]
        first += size
    for _ in range(6):
        edges.append(tuple(rng.choice(len(ids), 2, replace=False)))
    runs = np.cumsum(rng.random(len(ids)) < 0.08)
    segments = rng.integers(0, 12, runs.max() + 1)[runs]
    order = rng.permutation(len(ids))
    place = np.argsort(order)
    positions_nm = np.cumsum(rng.normal(size=(len(ids), 3)) * 40, axis=0)
    return Skeletons(positions_nm[order], ids[order], place[np.array(edges)]), segments[order]


def walked(skeletons, segments, tolerance):
    """ERL, perfect ERL, and errors, edge by edge over a graph without skeleton 0."""
    graph = nx.DiGraph()
    for i, (skeleton, position) in enumerate(zip(skeletons.node_skeleton_ids, skeletons.node_positions_nm, strict=True)):
        if skeleton != 0:
            graph.add_node(i, skeleton=int(skeleton), position=position, segment=int(segments[i]))
    graph.add_edges_from((u, v) for u, v in skeletons.edges.tolist() if u in graph and v in graph)
    shared = defaultdict(int)
    for _, node in graph.nodes(data=True):
        shared[node["segment"], node["skeleton"]] += 1
    skeletons_of = defaultdict(set)
    for (segment, skeleton), n_nodes in shared.items():
        if n_nodes > tolerance:
            skeletons_of[segment].add(skeleton)
    merging = {segment: members for segment, members in skeletons_of.items() if len(members) > 1}
    merged = set().union(*merging.values())
    total, own, right, n_splits = defaultdict(float), defaultdict(float), defaultdict(float), 0
    for u, v in graph.edges:
        a, b = graph.nodes[u], graph.nodes[v]
        length = math.dist(a["position"], b["position"])
        total[a["skeleton"]] += length
        inside = a["skeleton"] == b["skeleton"]
        own[a["skeleton"]] += length * inside
        if 0 in (a["segment"], b["segment"]):
            continue
        if a["segment"] != b["segment"]:
            n_splits += 1
        elif inside and not (a["segment"] in merging and a["skeleton"] in merged):
            right[a["skeleton"], a["segment"]] += length
    return {
        "erl_nm": sum(length**2 for length in right.values()) / sum(total.values()),
        "max_erl_nm": sum(length**2 for length in own.values()) / sum(total.values()),
        "n_splits": n_splits,
        "n_mergers": sum(map(len, merging.values())),
        "n_non0_mergers": sum(len(members) for segment, members in merging.items() if segment != 0),
        "merged": sorted(set().union(*(members for segment, members in merging.items() if segment != 0))),
        "background_fraction": sum(node["segment"] == 0 for _, node in graph.nodes(data=True)) / len(graph),
        "n_nodes": len(graph),
    }


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("tolerance", [0, 3, 5, 20, math.inf])
def test_matches_a_walk_over_the_graph(seed, tolerance):
    skeletons, segments = random_case(seed)
    scores, expected = score_skeletons(skeletons, segments, merge_tolerance=tolerance), walked(skeletons, segments, tolerance)
    for name in set(expected) - {"merged"}:
        assert getattr(scores, name) == pytest.approx(expected[name], rel=1e-12), name
    assert scores.skeleton_ids[scores.skeleton_is_merged].tolist() == expected["merged"]
    assert scores.nerl == pytest.approx(expected["erl_nm"] / expected["max_erl_nm"])
    for key, nerl in scores.nerl_by_tolerance.items():
        erl_nm = walked(skeletons, segments, float(key))["erl_nm"]
        assert nerl == pytest.approx(erl_nm / expected["max_erl_nm"]), key
    mean = np.average(scores.skeleton_erl_nm, weights=scores.skeleton_length_nm)
    assert mean == pytest.approx(scores.erl_nm)
    mean = np.average(scores.skeleton_max_erl_nm, weights=scores.skeleton_length_nm)
    assert mean == pytest.approx(scores.max_erl_nm)
    assert scores.skeleton_ids.tolist() == list(range(1, 9))
    assert scores.n_skeletons == 8


def test_perfect_segmentation():
    skeletons, _ = random_case(3)
    scores = score_skeletons(skeletons, skeletons.node_skeleton_ids * 10)
    assert scores.nerl == 1
    assert (scores.voi_split, scores.voi_merge, scores.rand_split, scores.rand_merge) == (0, 0, 1, 1)
    crossing = skeletons.node_skeleton_ids[skeletons.edges]
    n_crossing = np.count_nonzero((crossing[:, 0] != crossing[:, 1]) & (crossing != 0).all(axis=1))
    assert (scores.n_splits, scores.n_mergers, scores.background_fraction) == (n_crossing, 0, 0)
    assert n_crossing > 0


def line(ids, segments, edges):
    positions_nm = np.stack([np.zeros(len(ids)), np.zeros(len(ids)), 10.0 * np.arange(len(ids))], axis=1)
    return Skeletons(positions_nm, np.array(ids), np.array(edges).reshape(-1, 2)), np.array(segments)


def test_nodes_of_skeleton_0_count_nowhere():
    with_zero = line([5, 5, 5, 0, 0], [1, 1, 2, 2, 1], [(0, 1), (1, 2), (2, 3), (3, 4)])
    without = line([5, 5, 5], [1, 1, 2], [(0, 1), (1, 2)])
    assert score_skeletons(*with_zero).to_json() == score_skeletons(*without).to_json()
    assert score_skeletons(*with_zero).n_mergers == 0


def test_json_holds_plain_numbers():
    skeletons, segments = random_case(4)
    found = score_skeletons(skeletons, segments, merge_tolerance=math.inf).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["merge_tolerance"] == "inf"
    assert list(found["nerl_by_tolerance"]) == ["0", "5", "20", "50", "100", "inf"]
    assert set(found) == {
        *("nerl", "merge_tolerance", "nerl_by_tolerance", "erl_nm", "max_erl_nm", "voi_split", "voi_merge", "voi_sum"),
        *(
            "nerl_ci95",
            "erl_nm_ci95",
            "voi_split_ci95",
            "voi_merge_ci95",
            "voi_sum_ci95",
            "rand_split",
            "rand_merge",
            "n_splits",
            "n_mergers",
            "n_non0_mergers",
            "n_skeletons",
            "n_nodes",
        ),
        "background_fraction",
    }
    assert score_skeletons(skeletons, segments, merge_tolerance=5).to_json()["merge_tolerance"] == 5


def test_scores_of_skeletons_make_up_those_of_all():
    skeletons, segments = random_case(6)
    scores = score_skeletons(skeletons, segments)
    ids, n_nodes = np.unique(skeletons.node_skeleton_ids[skeletons.node_skeleton_ids != 0], return_counts=True)
    np.testing.assert_array_equal(scores.skeleton_ids, ids)
    np.testing.assert_array_equal(scores.skeleton_n_nodes, n_nodes)
    for name in ("voi_split", "voi_merge"):
        mean = np.average(getattr(scores, f"skeleton_{name}"), weights=n_nodes)
        assert mean == pytest.approx(getattr(scores, name)), name
    pure = score_skeletons(*line([5, 5, 7, 7], [1, 2, 3, 3], [(0, 1), (2, 3)]))
    assert (pure.skeleton_voi_split.tolist(), pure.skeleton_voi_merge.tolist()) == ([1, 0], [0, 0])


def test_isolated_nodes_count_as_nodes_and_in_mergers():
    """Skeleton 7 is one node in the segment of skeleton 5, skeleton 8 one node in background."""
    scores = score_skeletons(*line([5, 5, 7, 8], [1, 1, 1, 0], [(0, 1)]))
    assert (scores.n_skeletons, scores.n_nodes, scores.n_mergers, scores.erl_nm) == (3, 4, 2, 0)
    assert scores.max_erl_nm == 10
    assert scores.skeleton_length_nm.tolist() == [10, 0, 0]
    assert scores.skeleton_is_merged.tolist() == [True, True, False]


@pytest.mark.parametrize("flipped", [False, True])
def test_an_edge_between_skeletons_is_right_nowhere_and_counts_for_that_of_its_first_node(flipped):
    """The edge from skeleton 5 to 7 lies between nodes 1 and 2; nothing else is wrong."""
    crossing = (2, 1) if flipped else (1, 2)
    scores = score_skeletons(*line([5, 5, 7, 7], [1, 1, 2, 2], [(0, 1), crossing, (2, 3)]))
    assert scores.skeleton_length_nm.tolist() == ([10, 20] if flipped else [20, 10])
    assert scores.skeleton_n_splits.tolist() == ([0, 1] if flipped else [1, 0])
    assert scores.skeleton_erl_nm.tolist() == scores.skeleton_max_erl_nm.tolist() == ([10, 5] if flipped else [5, 10])
    assert (scores.nerl, scores.erl_nm) == (1, (10**2 + 10**2) / 30)
    inside = score_skeletons(*line([5, 5, 7, 7], [1, 1, 1, 1], [(0, 1), crossing, (2, 3)]))
    assert (inside.n_splits, inside.nerl, inside.nerl_by_tolerance["inf"]) == (0, 0, 1)


def test_great_ids_are_told_apart():
    """Segments that agree in their lower 32 bits, and beyond what a float can hold."""
    skeletons, _ = line([2**40, 2**40, 2**40 + 1, 2**40 + 1], [0] * 4, [(0, 1), (2, 3)])
    segments = np.array([2**63, 2**63, 2**63 + 1, 2**63 + 1], np.uint64)
    assert score_skeletons(skeletons, segments).nerl == 1
    merged = score_skeletons(skeletons, np.full(4, 2**63 + 1, np.uint64))
    assert merged.mergers.tolist() == [[2**63 + 1, 2**40], [2**63 + 1, 2**40 + 1]]


def test_refuses():
    skeletons, segments = line([1, 1, 2], [1, 1, 1], [(0, 1)])
    with pytest.raises(ValueError, match="ids are integers, got float64"):
        score_skeletons(skeletons, segments * 1.2)
    with pytest.raises(ValueError, match=r"3 nodes but segments of shape \(2,\)"):
        score_skeletons(skeletons, segments[:2])
    with pytest.raises(ValueError, match="merge_tolerance must be >= 0, got -1"):
        score_skeletons(skeletons, segments, merge_tolerance=-1)
    with pytest.raises(ValueError, match="merge_tolerance must be >= 0, got nan"):
        score_skeletons(skeletons, segments, merge_tolerance=math.nan)
    for no_length in (
        line([1, 2], [1, 1], []),
        line([0, 0], [1, 1], [(0, 1)]),
        line([1, 2], [1, 1], [(0, 1)]),
        line([], [], []),
    ):
        with pytest.raises(UserError, match=r"no run length to score: the \d skeletons have 0 edges"):
            score_skeletons(*no_length)
