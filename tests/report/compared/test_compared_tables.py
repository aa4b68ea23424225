import re
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from fake_sweep import BASE, FakeRun, FakeVolume, grid

from pipeline_lib.report import ComparedRun
from pipeline_lib.report.compared.differing import costs_section, differing_section
from pipeline_lib.report.compared.groups import Sweep, grouped
from pipeline_lib.report.compared.measures import MERGE_ERRORS, NERL, Measure
from pipeline_lib.report.compared.runs import read_run
from pipeline_lib.report.compared.tables import runs_section, score, settings_section

OnDisk = Callable[..., list[ComparedRun]]


def sweep_of(runs: list[ComparedRun]) -> Sweep:
    return grouped("fake", BASE, [read_run(run) for run in runs])


def rows_of(markup: str) -> list[list[str]]:
    """The cells of the bodies of all tables, without markup."""
    rows = re.findall(r"<tr[^>]*>(<td.*?)</tr>", markup, re.DOTALL)
    return [[" ".join(re.sub("<[^>]+>", " ", cell).split()) for cell in re.findall(r"<td.*?</td>", row)] for row in rows]


def test_a_setting_shows_mean_deviation_number_and_interval(sweep_on_disk: OnDisk) -> None:
    sweep = sweep_of(sweep_on_disk(grid([0.001, 0.01], [100], [0, 1, 2])))
    rows = rows_of(settings_section(sweep))
    for group, row in zip(sweep.groups, rows, strict=True):
        nerls = group.values("val", NERL)
        low, high = scipy.stats.ttest_1samp(nerls, 0).confidence_interval(0.95)
        assert row[:3] == [f"{group.name} seed 0 , seed 1 , seed 2", f"{group.settings['training.learning_rate']:g}", "3"]
        assert row[3] == f"{np.mean(nerls):.3f} sd {np.std(nerls, ddof=1):.3f} {low:.3f} to {high:.3f}"
        assert row[-2:] == ["10 min 00 s", "14 min 00 s"]


def test_a_run_shows_its_own_interval_and_every_score(sweep_on_disk: OnDisk) -> None:
    sweep = sweep_of(sweep_on_disk([FakeRun({"x": 1}, 0.9)], (FakeVolume("cube2", "val"),)))
    (row,) = rows_of(runs_section(sweep))
    skeletons, voxels = (sweep.runs[0].volumes[0].scores(kind) for kind in ("skeletons", "voxels"))

    def told(name: str) -> str:
        low, high = skeletons[f"{name}_ci95"]
        return f"{skeletons[name]:.3f} {low:.3f} to {high:.3f}"

    of_skeletons = [told(name) for name in ("nerl", "voi_split", "voi_merge", "voi_sum")]
    counts = [str(skeletons[name]) for name in ("n_splits", "n_non0_mergers")]
    of_voxels = [f"{voxels[name]:.3f}" for name in ("voi_split", "voi_merge", "voi_sum", "adapted_rand_error")]
    assert row == ["x=1", *of_skeletons, *counts, *of_voxels, "0.5"]


def test_a_setting_of_which_some_runs_are_scored_says_so(sweep_on_disk: OnDisk) -> None:
    volumes = (FakeVolume("cube2", "val", truth="skeletons"),)
    runs = sweep_on_disk([FakeRun({"seed": seed}, 0.9, seed=seed, repeats="same") for seed in (0, 1)], volumes)
    path = runs[1].contents.evaluation / "cube2-skeletons" / "metrics.json"
    path.write_text(re.sub(r'"skeletons": \{.*?\n \}', '"skeletons": null', path.read_text(), flags=re.DOTALL))
    (row,) = rows_of(settings_section(sweep_of(runs)))
    assert row[2] == "\u2013 1 of 2 runs scored"


@pytest.mark.parametrize(
    ("value", "measure", "shown"),
    [(0.12345, NERL, "0.123"), (3.0, MERGE_ERRORS, "3"), (3.25, MERGE_ERRORS, "3.2"), (None, NERL, "\u2013")],
)
def test_scores_as_read(value: float | None, measure: Measure, shown: str) -> None:
    assert score(value, measure) == shown


def test_intervals_leave_out_what_no_score_can_be() -> None:
    assert NERL.interval((-0.2, 1.3)) == "0.000 to 1.000"
    assert MERGE_ERRORS.interval((-2.0, 13.25)) == "0.0 to 13.2"


def test_settings_that_differ_stand_beside_the_base(sweep_on_disk: OnDisk) -> None:
    fakes = [FakeRun({"training.learning_rate": 0.001, "new.key": "<x>"}, 0.9), FakeRun({"training.learning_rate": 0.01}, 0.8)]
    markup = differing_section(sweep_of(sweep_on_disk(fakes)))
    assert re.findall(r"<code>(.*?)</code>", markup) == ["training.learning_rate", "new.key"]
    assert rows_of(markup) == [
        ["base", "0.001", "\u2013"],
        ["learning_rate=0.001 key=<x>".replace("<", "&lt;").replace(">", "&gt;"), "\u00b7", "&lt;x&gt;"],
        ["learning_rate=0.01", "0.01", "\u00b7"],
    ]


def test_a_stage_that_runs_share_counts_once(sweep_on_disk: OnDisk) -> None:
    fakes = [FakeRun({"x": x}, 0.9, model=f"model-{x // 2}") for x in range(4)]
    markup = costs_section(sweep_of(sweep_on_disk(fakes)))
    assert "All runs together took 36 min 00 s of wall time, 20 min 00 s of it for training." in markup
