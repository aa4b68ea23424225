from collections.abc import Callable
from dataclasses import replace

import pytest
from fake_sweep import BASE, FakeRun, FakeVolume, grid

from pipeline_lib.report import ComparedRun
from pipeline_lib.report.compared.draws import with_intervals
from pipeline_lib.report.compared.groups import Sweep, deciding_measure, grouped
from pipeline_lib.report.compared.headline import headline_text
from pipeline_lib.report.compared.measures import NERL, VOI_NODES, VOI_VOXELS
from pipeline_lib.report.compared.runs import read_run
from pipeline_lib.report.compared.verdicts import differences_by_split

OnDisk = Callable[..., list[ComparedRun]]


def sweep_of(runs: list[ComparedRun]) -> Sweep:
    return grouped("fake", BASE, with_intervals([read_run(run) for run in runs]))


def lines_of(sweep: Sweep) -> list[str]:
    return headline_text(sweep, differences_by_split(sweep)).splitlines()


def test_lines_for_the_terminal(sweep_on_disk: OnDisk) -> None:
    sweep = sweep_of(sweep_on_disk([FakeRun({"x": 1}, 0.6), FakeRun({"x": 2}, 0.9), FakeRun({"x": 3}, 0.899)]))
    scores = {v.split: v.scores("skeletons") for v in sweep.groups[0].runs[0].volumes}
    told = {
        split: f"NERL {s['nerl']:.3f} (95 % interval {s['nerl_ci95'][0]:.3f} to {s['nerl_ci95'][1]:.3f}), "
        f"splits {s['n_splits']}, mergers {s['n_non0_mergers']}"
        for split, s in scores.items()
    }
    assert lines_of(sweep) == [
        "fake: 3 runs",
        f"  best on val by NERL at merge tolerance 0: {sweep.groups[0].name}",
        f"  val: {told['val']}",
        f"  test: {told['test']}",
        "  On val the paired tests call 1 of 2 other settings worse, 0 better; 1 they cannot tell from it.",
        f"  It may be no better than {sweep.groups[1].name}.",
        "  On test the paired tests call 1 of 2 other settings worse, 0 better; 1 they cannot tell from it.",
    ]
    assert sweep.groups[2].name == "x=1"


def test_repeated_runs_are_one_setting(sweep_on_disk: OnDisk) -> None:
    sweep = sweep_of(sweep_on_disk(grid([0.001, 0.01], [100], [0, 1, 2])))
    assert [group.name for group in sweep.groups] == [
        "learning_rate=0.001 min_size_vox=100",
        "learning_rate=0.01 min_size_vox=100",
    ]
    assert (sweep.swept, sweep.repeated) == (("training.learning_rate",), ("seed",))
    lines = lines_of(sweep)
    assert lines[0] == "fake: 6 runs of 2 settings"
    assert "(mean of 3 runs, 95 % t-interval" in lines[2]


def test_best_is_decided_on_val_though_test_says_otherwise(sweep_on_disk: OnDisk) -> None:
    low, high = sweep_on_disk([FakeRun({"x": 1}, 0.7), FakeRun({"x": 2}, 0.9)])
    for name in ("metrics.json", "skeletons.csv"):
        a, b = (run.contents.evaluation / "cube3-both" / name for run in (low, high))
        before = a.read_text()
        a.write_text(b.read_text())
        b.write_text(before)
    sweep = sweep_of([low, high])
    val, test = ([group.estimate(split, NERL).value for group in sweep.groups] for split in ("val", "test"))  # type: ignore[union-attr]
    assert [group.name for group in sweep.groups] == ["x=2", "x=1"]
    assert (val[0] > val[1], test[0] < test[1]) == (True, True)
    assert "  On test the paired tests call 0 of 1 other settings worse, 1 better; 0 they cannot tell from it." in lines_of(
        sweep
    )


@pytest.mark.parametrize(
    ("by", "expected"),
    [("nerl", NERL), ("voi_skeletons", VOI_NODES), ("voi_voxels", VOI_VOXELS), ("settings", NERL)],
)
def test_the_deciding_score_is_that_of_the_thresholds(sweep_on_disk: OnDisk, by: str, expected: object) -> None:
    sweep = sweep_of(sweep_on_disk([FakeRun({"x": x}, 0.9 - 0.1 * x, more={"by": by}) for x in (1, 2)]))
    assert sweep.decided_by == expected
    assert sweep.groups[0].name == "x=1"  # more NERL, less VOI
    mixed = sweep_of(sweep_on_disk([FakeRun({"x": 1}, 0.9, more={"by": by}), FakeRun({"x": 2}, 0.8, more={"by": "other"})]))
    assert mixed.decided_by == NERL


def test_what_most_settings_have_decides(sweep_on_disk: OnDisk) -> None:
    runs = sweep_on_disk([FakeRun({"x": 1}, 0.9)], (FakeVolume("cube2", "val", truth="voxels"),))
    groups = sweep_of(runs).groups
    assert deciding_measure(groups) == VOI_VOXELS
    assert deciding_measure([]) is None


def test_merge_tolerances_that_differ_are_told(sweep_on_disk: OnDisk) -> None:
    runs = sweep_on_disk([FakeRun({"x": 1}, 0.9), FakeRun({"x": 2}, 0.8, more={"merge_tolerance": 50})])
    lines = lines_of(sweep_of(runs))
    assert lines[1] == "  best on val by VOI at nodes: x=1"
    assert (
        lines[-1]
        == "  The runs are scored at several merge tolerances: NERL cannot be compared between them and does not decide."
    )


def test_thresholds_at_the_end_of_the_range_are_told(sweep_on_disk: OnDisk) -> None:
    fakes = [FakeRun({"x": x}, 0.9, more={"warning": "at the end" if x % 2 else None}) for x in range(14)]
    told = lines_of(sweep_of(sweep_on_disk(fakes)))[-1]
    assert told == "  The best threshold lies at the end of the range that was tried in x=1, x=3, x=5, x=7, x=9 and 2 more."


def test_equal_runs_stay_in_their_order(sweep_on_disk: OnDisk) -> None:
    runs = sweep_on_disk([FakeRun({"x": x}, 0.9) for x in (3, 1, 2)])
    assert [group.name for group in sweep_of(runs).groups] == ["x=3", "x=1", "x=2"]
    same = [replace(run, repeats="same") for run in runs]
    assert [group.name for group in sweep_of(same).groups] == ["same"]
