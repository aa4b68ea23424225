import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from pipeline_lib.errors import UserError
from pipeline_lib.metrics import SkeletonTable, bootstrap, bootstrap_intervals, compare_skeleton_scores, score_skeletons
from pipeline_lib.skeletons import Skeletons


def random_table(seed, n=30, *, gain=0.0):
    """Lengths and nodes are the same for each seed below 100; `gain` makes all scores better."""
    truth, errors = np.random.default_rng(7), np.random.default_rng(seed)
    length_nm, n_nodes = truth.uniform(10, 500, n), truth.integers(2, 60, n)
    split, merge = errors.uniform(0, 2, n), errors.uniform(0, 1, n)
    erl_nm = length_nm * np.clip(errors.uniform(0, 0.6, n) + gain, 0, 1)
    return SkeletonTable(
        0, np.arange(n) + 5, length_nm, erl_nm, 0.9 * length_nm, n_nodes, split * (1 - gain), merge * (1 - gain)
    )


def scores_of(table, drawn):
    length, erl, max_erl, nodes = (
        getattr(table, f"skeleton_{name}")[drawn].astype(float) for name in ("length_nm", "erl_nm", "max_erl_nm", "n_nodes")
    )
    split, merge = (np.average(getattr(table, f"skeleton_voi_{name}")[drawn], weights=nodes) for name in ("split", "merge"))
    nerl, erl_nm = (length * erl).sum() / (length * max_erl).sum(), (length * erl).sum() / length.sum()
    return {"nerl": nerl, "erl_nm": erl_nm, "voi_split": split, "voi_merge": merge, "voi_sum": split + merge}


def redrawn(table, n_draws=1000, seed=0):
    """The same draws, one by one."""
    rng = np.random.default_rng(seed)
    draws = [rng.integers(len(table.skeleton_ids), size=len(table.skeleton_ids)) for _ in range(n_draws)]
    return [scores_of(table, drawn) for drawn in draws if table.skeleton_length_nm[drawn].any()]


@pytest.mark.parametrize("seed", range(3))
def test_intervals_are_the_spread_of_redrawn_skeletons(seed):
    table = random_table(seed)
    intervals = asdict(bootstrap_intervals(table))
    expected, whole = redrawn(table), scores_of(table, np.arange(30))
    for name, ends in intervals.items():
        values = [scores[name] for scores in expected]
        assert ends == pytest.approx(np.percentile(values, [2.5, 97.5])), name
        assert ends[0] < whole[name] < ends[1]
    assert set(intervals) == set(whole)


def test_draws_are_seeded_and_bounded_in_memory(monkeypatch):
    table = random_table(1)
    found = bootstrap_intervals(table)
    assert found == bootstrap_intervals(table) != bootstrap_intervals(table, seed=1)
    monkeypatch.setattr(bootstrap, "_WEIGHTS_AT_ONCE", 100)
    in_parts = bootstrap_intervals(table)
    for name, ends in asdict(found).items():
        assert ends == pytest.approx(getattr(in_parts, name), rel=1e-12), name
    assert max(len(weights) for weights in bootstrap.draw_weights(30, 20, 0)) == 3
    assert all((weights.sum(axis=1) == 30).all() for weights in bootstrap.draw_weights(30, 20, 0))


def test_intervals_of_real_scores_stand_in_the_json():
    ids, edges = np.repeat([1, 2, 3], 4), [(i, i + 1) for i in range(11) if i % 4 < 3]
    skeletons = Skeletons(np.arange(12)[:, None] * [0, 0, 10.0], ids, np.array(edges))
    scores = score_skeletons(skeletons, np.array([1, 1, 2, 2, 3, 3, 3, 3, 3, 0, 4, 4]))
    told = scores.to_json()
    for name, ends in asdict(bootstrap_intervals(scores)).items():
        assert told[f"{name}_ci95"] == list(ends)
        assert ends[0] < told[name] < ends[1]
    perfect = score_skeletons(skeletons, ids)
    assert bootstrap_intervals(perfect).nerl == (1, 1)
    assert bootstrap_intervals(perfect).voi_sum == (0, 0)


def test_a_single_skeleton_gives_no_interval():
    """Nor does one with isolated nodes beside it."""
    skeletons = Skeletons(np.eye(4, 3), np.array([1, 1, 2, 3]), np.array([(0, 1)]))
    scores = score_skeletons(skeletons, np.array([1, 1, 2, 3]))
    assert set(asdict(bootstrap_intervals(scores)).values()) == {None}
    assert scores.to_json()["nerl_ci95"] is None
    comparison = compare_skeleton_scores(scores, scores)
    assert comparison.to_json()["nerl"] == {"difference": 0, "ci95": None, "share_better": 0.5}
    assert comparison.nerl.verdict == "no conclusion from fewer than two skeletons with edges (difference +0.000)"


@pytest.mark.parametrize("n_skeletons", [2, 3, 8])
def test_rounding_makes_nothing_better(n_skeletons):
    """The same segmentation under other ids, its sums taken in another order."""
    rng = np.random.default_rng(n_skeletons)
    for _ in range(50):
        n_nodes = rng.integers(2, 9, n_skeletons)
        ids = np.repeat(np.arange(1, n_skeletons + 1), n_nodes)
        edges = [(i, i + 1) for i in range(len(ids) - 1) if ids[i] == ids[i + 1]]
        skeletons = Skeletons(rng.normal(size=(len(ids), 3)), ids, np.array(edges))
        segments, names = rng.integers(0, 5, len(ids)), np.array([0, *rng.permutation(np.arange(1, 5))])
        comparison = compare_skeleton_scores(*(score_skeletons(skeletons, found) for found in (segments, names[segments])))
        for difference in (comparison.nerl, comparison.voi_sum):
            assert (difference.difference, difference.ci95, difference.share_better) == (0, (0, 0), 0.5)
            assert difference.verdict.startswith("no conclusion")


def test_comparison_is_paired():
    """b is a little worse on every skeleton: less than the spread over skeletons, yet sure."""
    a = random_table(2, gain=0.05)
    b = random_table(2)
    comparison = compare_skeleton_scores(a, b)
    pairs = list(zip(redrawn(a), redrawn(b), strict=True))
    for name in ("nerl", "voi_sum"):
        found, differences = getattr(comparison, name), [one[name] - other[name] for one, other in pairs]
        whole = scores_of(a, np.arange(30))[name] - scores_of(b, np.arange(30))[name]
        assert found.difference == pytest.approx(whole)
        assert found.ci95 == pytest.approx(np.percentile(differences, [2.5, 97.5]))
        assert found.share_better == 1
        assert "better" in found.verdict
    apart = bootstrap_intervals(a).nerl
    assert apart[0] < scores_of(b, np.arange(30))["nerl"]
    reverse = compare_skeleton_scores(b, a)
    assert (reverse.nerl.share_better, reverse.voi_sum.share_better) == (0, 0)
    assert reverse.verdict.count("worse") == 2


def test_no_conclusion_where_the_interval_contains_0():
    comparison = compare_skeleton_scores(random_table(3), random_table(5))
    pairs = zip(redrawn(random_table(3)), redrawn(random_table(5)), strict=True)
    better = np.mean([one["voi_sum"] < other["voi_sum"] for one, other in pairs])
    assert comparison.voi_sum.share_better == pytest.approx(better)
    for found in (comparison.nerl, comparison.voi_sum):
        assert found.ci95[0] < 0 < found.ci95[1]
        assert found.verdict.startswith("no conclusion (")
    told = comparison.to_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert set(told) == {"nerl", "voi_sum", "verdict"}
    low, high = comparison.nerl.ci95
    assert f"NERL no conclusion ({comparison.nerl.difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f})" in told["verdict"]


def test_equal_segmentations():
    comparison = compare_skeleton_scores(random_table(5), random_table(5))
    assert comparison.nerl.to_json() == {"difference": 0, "ci95": [0, 0], "share_better": 0.5}
    assert comparison.nerl.verdict.startswith("no conclusion")


def test_refuses_other_skeletons():
    table = random_table(6)
    with pytest.raises(UserError, match="merge tolerances 0 and 5; evaluate both with one"):
        compare_skeleton_scores(table, replace(table, merge_tolerance=5))
    others = replace(table, skeleton_ids=table.skeleton_ids + 1)
    with pytest.raises(UserError, match="1 of 30 are missing in the other, which has 1 more; evaluate both on the same volume"):
        compare_skeleton_scores(table, others)
    longer = replace(table, skeleton_length_nm=table.skeleton_length_nm + np.eye(30)[4])
    with pytest.raises(UserError, match=r"skeleton 9 has the length [\d.]+ nm and [\d.]+ nm; evaluate both on"):
        compare_skeleton_scores(table, longer)
    more = replace(table, skeleton_n_nodes=table.skeleton_n_nodes + 1)
    with pytest.raises(UserError, match=r"skeleton 5 has the number of nodes \d+ and \d+; evaluate both on"):
        compare_skeleton_scores(table, more)
