import json
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from math import log2, nan
from pathlib import Path
from types import ModuleType

import networkx as nx
import numpy as np
import pytest

from pipeline_lib.evaluation.verify import verify_with_funlib
from pipeline_lib.metrics import score_skeletons
from pipeline_lib.skeletons import Skeletons

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "skeleton_metrics.json").read_text())["cases"]
NAMES = ("erl_nm", "max_erl_nm", "nerl", "voi_split", "voi_merge", "n_mergers", "n_non0_mergers", "n_splits")


def expected_run_length(graph, id_name, length_name, segments, *, skeleton_lengths, return_merge_split_stats=False):
    """The documented rules. With the statistics comes no run length: early versions return a wrong one."""
    ids = nx.get_node_attributes(graph, id_name)
    held = defaultdict(set)
    for node, skeleton in ids.items():
        held[segments[node]].add(skeleton)
    merges = {segment: sorted(found) for segment, found in held.items() if len(found) > 1}
    runs, splits = defaultdict(float), defaultdict(list)
    for u, v, length in graph.edges(data=length_name):
        pair = segments[u], segments[v]
        if 0 in pair:
            continue
        if pair[0] != pair[1]:
            splits[ids[u]].append(pair)
        elif pair[0] not in merges:
            runs[ids[u], pair[0]] += length
    if return_merge_split_stats:
        return nan, {"merge_stats": merges, "split_stats": splits}
    return sum(run * run for run in runs.values()) / sum(skeleton_lengths.values())


def rand_voi(truth, test):
    """Entropies over what is not 0 in the truth; only the arrays that the compiled function takes."""
    if truth.dtype != np.uint64 or test.dtype != np.uint64 or truth.ndim != 3 or test.ndim != 3:
        raise ValueError("uint64 arrays of three axes are needed")
    pairs = [(a, b) for a, b in zip(truth.ravel().tolist(), test.ravel().tolist(), strict=True) if a]
    joint, of_truth, of_test = Counter(pairs), Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    n = len(pairs)
    return {
        "voi_split": sum(-k / n * log2(k / of_truth[a]) for (a, _), k in joint.items()),
        "voi_merge": sum(-k / n * log2(k / of_test[b]) for (_, b), k in joint.items()),
    }


@pytest.fixture
def funlib(monkeypatch):
    """A stand-in for funlib.evaluate."""
    module = ModuleType("funlib.evaluate")
    module.expected_run_length, module.rand_voi = expected_run_length, rand_voi
    monkeypatch.setitem(sys.modules, "funlib", ModuleType("funlib"))
    monkeypatch.setitem(sys.modules, "funlib.evaluate", module)
    return module


def reference_case(index):
    nodes = REFERENCE[index]["nodes"]
    skeletons = Skeletons(np.array(nodes["position_nm"]), np.array(nodes["skeleton_id"]), np.array(REFERENCE[index]["edges"]))
    return skeletons, np.array(nodes["segment_id"])


@pytest.mark.parametrize("index", range(len(REFERENCE)))
def test_agrees_on_the_reference_cases(funlib, index):
    skeletons, segments = reference_case(index)
    scores = score_skeletons(skeletons, segments)
    found = verify_with_funlib(skeletons, segments, scores)
    assert found.agrees is True
    assert found.lines[0] == "funlib.evaluate agrees to a relative 1e-06:"
    expected = REFERENCE[index]["expected"]
    recorded = {"erl_nm": expected["expected_run_length"], "max_erl_nm": expected["max_expected_run_length"]}
    for name, line in zip(NAMES, found.lines[1:], strict=True):
        own, theirs = (float(part.split()[0]) for part in line.removeprefix(f"{name}: ").split(", "))
        assert own == pytest.approx(getattr(scores, name), rel=1e-8), name
        assert theirs == pytest.approx(recorded.get(name, expected.get(name)), rel=1e-6, abs=1e-6), name


@pytest.mark.parametrize("name", NAMES)
def test_a_score_that_differs_is_named(funlib, name):
    skeletons, segments = reference_case(2)
    scores = score_skeletons(skeletons, segments)
    value = getattr(scores, name)
    wrong = replace(scores, **{name: value + 1 if isinstance(value, int) else value * (1 + 2e-6)})
    found = verify_with_funlib(skeletons, segments, wrong)
    assert found.agrees is False
    assert found.lines[0] == "funlib.evaluate does not agree to a relative 1e-06:"
    assert [line.split(":")[0] for line in found.lines if line.endswith(", DIFFERENT")] == [name]


def test_rounding_is_no_difference(funlib):
    skeletons, segments = reference_case(2)
    scores = score_skeletons(skeletons, segments)
    assert verify_with_funlib(skeletons, segments, replace(scores, erl_nm=scores.erl_nm * (1 + 5e-7))).agrees


def test_nodes_of_no_skeleton_and_lone_nodes_agree_too(funlib):
    skeletons, segments = reference_case(3)
    ids = skeletons.node_skeleton_ids.copy()
    ids[::17] = 0
    ids[1] = ids.max() + 1
    told = Skeletons(skeletons.node_positions_nm, ids, skeletons.edges[(skeletons.edges != 1).all(axis=1), ::-1])
    assert verify_with_funlib(told, segments.astype(np.uint32), score_skeletons(told, segments)).agrees


def with_edges_between_skeletons(index):
    skeletons, segments = reference_case(index)
    between = np.random.default_rng(index).integers(0, len(segments), (9, 2))
    between = between[np.diff(skeletons.node_skeleton_ids[between])[:, 0] != 0]
    assert len(between) > 3
    edges = np.vstack([skeletons.edges, between])
    return Skeletons(skeletons.node_positions_nm, skeletons.node_skeleton_ids, edges), segments


@pytest.mark.parametrize("index", range(len(REFERENCE)))
def test_edges_between_skeletons_agree_too(funlib, index):
    skeletons, segments = with_edges_between_skeletons(index)
    for found in (segments, skeletons.node_skeleton_ids):
        assert verify_with_funlib(skeletons, found, score_skeletons(skeletons, found)).agrees


def test_where_it_is_not_installed_that_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "funlib.evaluate", None)
    skeletons, segments = reference_case(0)
    found = verify_with_funlib(skeletons, segments, score_skeletons(skeletons, segments))
    assert found.agrees is None
    (line,) = found.lines
    assert line.startswith("not verified: funlib.evaluate cannot be imported (")
    assert line.endswith("); pip install -e '.[verify]'")


def test_scores_at_another_tolerance_are_refused(funlib):
    skeletons, segments = reference_case(0)
    with pytest.raises(ValueError, match="merge tolerance 0 only, got scores at 5"):
        verify_with_funlib(skeletons, segments, score_skeletons(skeletons, segments, merge_tolerance=5))


def test_a_skeleton_without_length_is_no_difference(funlib):
    skeletons, segments = reference_case(0)
    ids, positions_nm = skeletons.node_skeleton_ids, skeletons.node_positions_nm
    more = Skeletons(
        np.vstack([positions_nm, positions_nm[:1], positions_nm[:1]]),
        np.append(ids, [ids.max() + 1] * 2),
        np.vstack([skeletons.edges, [[len(ids), len(ids) + 1]]]),
    )
    segments = np.append(segments, [segments[0]] * 2)
    assert verify_with_funlib(more, segments, score_skeletons(more, segments)).agrees


@pytest.mark.parametrize("index", range(len(REFERENCE)))
def test_agrees_with_the_installed_one(index):
    pytest.importorskip("funlib.evaluate", reason="funlib.evaluate is not installed")
    for skeletons, segments in (reference_case(index), with_edges_between_skeletons(index)):
        assert verify_with_funlib(skeletons, segments, score_skeletons(skeletons, segments)).agrees
