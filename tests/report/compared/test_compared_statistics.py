"""The numbers of the comparison against scipy and against brute force."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from fake_sweep import FakeRun, FakeVolume, grid, skeletons_of

from pipeline_lib.metrics import compare_skeleton_scores
from pipeline_lib.report import ComparedRun
from pipeline_lib.report.compared.draws import draw_scores, with_intervals
from pipeline_lib.report.compared.groups import Sweep, grouped
from pipeline_lib.report.compared.measures import (
    MERGE_ERRORS,
    NERL,
    VOI_NODES,
    Estimate,
    estimate_of_run,
    over_repetitions,
)
from pipeline_lib.report.compared.paired import (
    bootstrap_p,
    corrected,
    differences_to_best,
    holm,
    interval_of_sum,
    pooled_variance,
)
from pipeline_lib.report.compared.runs import read_run

OnDisk = Callable[..., list[ComparedRun]]
VAL = FakeVolume("cube2", "val")
TWO_VAL = (VAL, FakeVolume("cube4", "val", n_skeletons=15), FakeVolume("cube3", "test"))
TWO_RUNS = [FakeRun({"rate": 1}, 0.85), FakeRun({"rate": 2}, 0.82)]


def sweep_of(runs: list[ComparedRun]) -> Sweep:
    return grouped("fake", {}, with_intervals([read_run(run) for run in runs]))


def test_repetitions_give_mean_deviation_and_t_interval() -> None:
    values = [0.81, 0.85, 0.8, 0.9]
    found = over_repetitions([Estimate(value, (0, 1)) for value in values])
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.value, found.sd, found.n) == pytest.approx((np.mean(values), np.std(values, ddof=1), 4))
    assert found.ci95 == pytest.approx(tuple(expected))
    alone = Estimate(0.8, (0.7, 0.9))
    assert over_repetitions([alone]) is alone


def test_single_runs_are_compared_as_two_evaluations_are(sweep_on_disk: OnDisk) -> None:
    sweep = sweep_of(sweep_on_disk(TWO_RUNS))
    expected = compare_skeleton_scores(skeletons_of(VAL, 0.82, 0), skeletons_of(VAL, 0.85, 0))
    for measure, told in ((NERL, expected.nerl), (VOI_NODES, expected.voi_sum)):
        (found,) = differences_to_best(sweep, "val", measure)
        assert found.value == pytest.approx(told.difference)
        assert found.ci95 == pytest.approx(told.ci95)
        assert found.p == pytest.approx(2 * min(told.share_better, 1 - told.share_better), abs=2 / 1001)
        assert found.verdict == told.verdict.split(" (")[0]


def test_of_several_volumes_the_mean_is_drawn_volume_by_volume(sweep_on_disk: OnDisk) -> None:
    runs = [read_run(run) for run in sweep_on_disk(TWO_RUNS, TWO_VAL)]
    drawn = draw_scores(runs, "val", n_draws=400)
    for row, quality in enumerate((0.85, 0.82)):
        nerl, voi = np.zeros(400), np.zeros(400)
        for number, volume in enumerate(TWO_VAL[:2]):
            table = skeletons_of(volume, quality, 0)
            length, nodes, n = table.skeleton_length_nm, table.skeleton_n_nodes, volume.n_skeletons
            picks = np.random.default_rng(number).integers(n, size=(400, n))
            for draw, pick in enumerate(picks):
                right, best = length * table.skeleton_erl_nm, length * table.skeleton_max_erl_nm
                nerl[draw] += right[pick].sum() / best[pick].sum() / 2
                both = (table.skeleton_voi_split + table.skeleton_voi_merge) * nodes
                voi[draw] += both[pick].sum() / nodes[pick].sum() / 2
        np.testing.assert_allclose(drawn.scores[NERL][row], nerl)
        np.testing.assert_allclose(drawn.scores[VOI_NODES][row], voi)


def test_a_mean_over_volumes_has_an_interval_and_counts_are_added(sweep_on_disk: OnDisk) -> None:
    (run,) = with_intervals([read_run(run) for run in sweep_on_disk(TWO_RUNS[:1], TWO_VAL)])
    nerls = [volume.scores("skeletons")["nerl"] for volume in run.of_split("val")]
    found = estimate_of_run(run, "val", NERL)
    assert found is not None
    assert found.value == pytest.approx(np.mean(nerls))
    assert found.ci95 == pytest.approx(tuple(np.percentile(draw_scores([run], "val", n_draws=1000).scores[NERL], [2.5, 97.5])))
    mergers = estimate_of_run(run, "val", MERGE_ERRORS)
    assert mergers == Estimate(sum(volume.scores("skeletons")["n_non0_mergers"] for volume in run.of_split("val")))
    single = estimate_of_run(run, "test", NERL)
    assert single is not None
    assert single.ci95 == tuple(run.of_split("test")[0].scores("skeletons")["nerl_ci95"])


def test_repeated_runs_are_paired_by_seed(sweep_on_disk: OnDisk) -> None:
    sweep = sweep_of(sweep_on_disk(grid([0.001, 0.01], [100], [0, 1, 2])))
    scores = [[estimate_of_run(run, "val", NERL).value for run in group.runs] for group in sweep.groups]  # type: ignore[union-attr]
    (found,) = differences_to_best(sweep, "val", NERL)
    drawn = draw_scores(sweep.runs, "val").scores[NERL]
    known = float((drawn[3:].mean(axis=0) - drawn[:3].mean(axis=0)).std())
    change = np.subtract(scores[1], scores[0])
    half = np.hypot(scipy.stats.norm.ppf(0.975) * known, scipy.stats.t.ppf(0.975, 2) * change.std(ddof=1) / np.sqrt(3))
    assert found.value == pytest.approx(change.mean())
    assert found.ci95 == pytest.approx((change.mean() - half, change.mean() + half), rel=1e-6)


def test_other_seeds_are_compared_by_the_pooled_variance(sweep_on_disk: OnDisk) -> None:
    runs = [*grid([0.001], [100], [0, 1, 2]), *grid([0.01], [100], [5])]
    sweep = sweep_of(sweep_on_disk(runs))
    scores = [[estimate_of_run(run, "val", NERL).value for run in group.runs] for group in sweep.groups]  # type: ignore[union-attr]
    assert [len(values) for values in scores] == [3, 1]
    (found,) = differences_to_best(sweep, "val", NERL)
    drawn = draw_scores(sweep.runs, "val").scores[NERL]
    known = float((drawn[3] - drawn[:3].mean(axis=0)).std())
    error = np.std(scores[0], ddof=1) * np.sqrt(1 / 3 + 1)
    half = np.hypot(1.959964 * known, scipy.stats.t.ppf(0.975, 2) * error)
    assert found.ci95 is not None
    assert (found.ci95[1] - found.ci95[0]) / 2 == pytest.approx(half, rel=1e-5)


def test_the_pooled_variance_is_that_of_students_test(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=4), rng.normal(1, size=3)
    variance, freedom = pooled_variance([a, b])
    expected = scipy.stats.ttest_ind(a, b)
    (low, high), p = interval_of_sum(a.mean() - b.mean(), 0.0, variance, freedom)
    assert p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-6)


def test_with_a_known_variance_alone_p_is_that_of_a_normal() -> None:
    (low, high), p = interval_of_sum(2.0, 1.0, 0.0, 2)
    assert (low, high) == pytest.approx((2 - 1.959964, 2 + 1.959964), abs=1e-5)
    assert p == pytest.approx(2 * scipy.stats.norm.sf(2), rel=1e-6)


@pytest.mark.parametrize(("n", "known"), itertools.product((2, 3, 5), (0.0, 0.05, 0.4, 2.0)))
def test_equal_settings_are_called_different_in_a_twentieth_at_most(n: int, known: float, rng: np.random.Generator) -> None:
    """Chance from seeds of variance 1 in each of n differences, and from skeletons of the known variance."""
    change = rng.normal(size=(1500, n))
    value = change.mean(axis=1) + rng.normal(0, np.sqrt(known), 1500)
    variance = change.var(axis=1, ddof=1) / n
    found = [interval_of_sum(v, known, own, n - 1) for v, own in zip(value, variance, strict=True)]
    wrong = [not low <= 0 <= high for (low, high), _ in found]
    assert wrong == [p < 0.05 for _, p in found]
    assert scipy.stats.binomtest(sum(wrong), 1500, 0.05, alternative="greater").pvalue > 0.001


def test_no_chance_at_all_and_no_difference() -> None:
    assert interval_of_sum(0.0, 0.0, 0.0, 2) == ((0.0, 0.0), 1.0)
    interval, p = interval_of_sum(0.5, 0.0, 0.0, 2)
    assert interval == (0.5, 0.5)
    assert p < 1e-8


def test_p_from_draws(rng: np.random.Generator) -> None:
    assert bootstrap_p(np.full(999, 0.1), 20) == pytest.approx(2 / 1000)
    assert bootstrap_p(np.zeros(999), 20) == 1.0
    assert bootstrap_p(np.array([-1.0] * 30 + [1.0] * 969), 20) == pytest.approx(2 * 31 / 1000)
    far = rng.normal(6, 1, 999)
    assert bootstrap_p(far, 20) == pytest.approx(2 * scipy.stats.t.sf(far.mean() / far.std(), 20))
    assert bootstrap_p(far, 2) == pytest.approx(2 / 1000)  # the tail of few skeletons is heavier than that
    assert 0 < bootstrap_p(far + 1000, 20) < 1e-8


def test_holm_against_its_definition(rng: np.random.Generator) -> None:
    p_values = [*rng.random(20).tolist(), 0.001, 0.002, 0.001]
    for level in np.linspace(0.0005, 0.5, 97):
        rejected = set()
        for k, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if p_values[i] > level / (len(p_values) - k):
                break
            rejected.add(i)
        assert {i for i, p in enumerate(holm(p_values)) if p <= level + 1e-12} == rejected
    assert holm([]) == []


def test_verdicts(sweep_on_disk: OnDisk) -> None:
    sweep = sweep_of(sweep_on_disk(TWO_RUNS))
    (found,) = differences_to_best(sweep, "val", NERL)
    told = {"ci95": (-0.2, -0.1), "value": -0.15, "p_holm": 0.01}
    assert replace(found, **told).verdict == "worse"
    assert replace(found, **told, measure=VOI_NODES).verdict == "better"
    assert replace(found, **{**told, "p_holm": 0.06}).verdict == "worse, if alone"
    for ends in ((-0.2, 0.1), (-0.2, 0.0), (0.0, 0.1)):
        assert replace(found, **{**told, "ci95": ends}).verdict == "no conclusion"
    assert replace(found, ci95=None, p=None, reason="why not").verdict == "no conclusion: why not"
    many = corrected([replace(found, p=0.01), replace(found, p=None, p_holm=None), replace(found, p=0.02)])
    assert [one.p_holm for one in many] == [0.02, None, 0.02]


def test_a_clear_difference_stays_clear_among_many(sweep_on_disk: OnDisk) -> None:
    runs = [FakeRun({"rate": i}, 0.9 if i == 0 else 0.5) for i in range(120)]
    sweep = sweep_of(sweep_on_disk(runs, (FakeVolume("cube2", "val", n_skeletons=30, truth="skeletons"),)))
    assert {found.verdict for found in differences_to_best(sweep, "val", NERL)} == {"worse"}


def test_other_skeletons_or_tolerances_are_no_ground_for_a_test(sweep_on_disk: OnDisk) -> None:
    runs = [FakeRun({"rate": 1}, 0.85), FakeRun({"rate": 2}, 0.82, more={"merge_tolerance": 50})]
    sweep = sweep_of(sweep_on_disk(runs))
    assert sweep.decided_by == VOI_NODES
    (found,) = differences_to_best(sweep, "val", VOI_NODES)
    assert found.verdict == "no conclusion: scored on other volumes or skeletons, or at another merge tolerance"


def test_one_skeleton_gives_no_conclusion(sweep_on_disk: OnDisk) -> None:
    sweep = sweep_of(sweep_on_disk(TWO_RUNS, (FakeVolume("cube2", "val", n_skeletons=1),)))
    (found,) = differences_to_best(sweep, "val", NERL)
    assert found.verdict == "no conclusion: fewer than two skeletons with edges"


def test_folds_are_compared_over_all_their_volumes(sweep_on_disk: OnDisk, tmp_path) -> None:
    """Each fold scores another val volume; settings are compared over the volumes of all folds."""
    runs = []
    for number, (rate, fold) in enumerate(itertools.product((1, 2), ("a", "b", "c"))):
        fake = FakeRun({"rate": rate, "fold": fold}, 0.87 - 0.03 * rate, seed=ord(fold), repeats=f"rate={rate}")
        (run,) = sweep_on_disk([fake], (FakeVolume(f"cube-{fold}", "val", n_skeletons=20),))
        (tmp_path / "results").rename(tmp_path / f"fold{number}")
        parts = tuple(
            replace(p, folder=tmp_path / f"fold{number}" / p.folder.relative_to(tmp_path / "results"))
            for p in run.contents.volumes
        )
        names = ("model", "prediction", "sweep", "segmentation", "evaluation")
        moved = {n: tmp_path / f"fold{number}" / getattr(run.contents, n).relative_to(tmp_path / "results") for n in names}
        runs.append(replace(run, contents=replace(run.contents, volumes=parts, **moved)))
    sweep = sweep_of(runs)
    (found,) = differences_to_best(sweep, "val", NERL)
    scores = np.array([[estimate_of_run(run, "val", NERL).value for run in group.runs] for group in sweep.groups])  # type: ignore[union-attr]
    assert scores.shape == (2, 3)
    assert found.value == pytest.approx(scores[1].mean() - scores[0].mean())
    assert found.ci95 is not None
    assert found.ci95[1] - found.ci95[0] > 2 * scipy.stats.t.ppf(0.975, 2) * (scores[1] - scores[0]).std(ddof=1) / np.sqrt(3)
