"""A config with a sweep: its runs, their names, and what they share."""

import itertools
import math

import pytest
import yaml

from pipeline_lib.errors import UserError
from pipeline_lib.settings import identity, load_experiment, parse_experiment
from pipeline_lib.settings.expansion import Experiment
from pipeline_lib.settings.paths import Paths


def synthetic(split):
    return {"kind": "synthetic", "split": split, "shape_vox": [64, 64, 64]}


BASE = {"project": "p", "volumes": {name: synthetic(name) for name in ("train", "val", "test")}}
RATES, SIZES = [1e-3, 2e-3, 4e-3], [0, 100, 300, 1000]


def experiment(content=BASE, **sweep) -> Experiment:
    return parse_experiment({**content, "sweep": sweep})


def changed(**sweep):
    return [run.changed for run in experiment(**sweep).runs]


def test_without_a_sweep_there_is_one_run():
    found = parse_experiment(BASE)
    assert not found.is_sweep
    assert [(run.project, run.name, run.page) for run in found.runs] == [(found.base, "", "")]


def test_a_grid_is_every_combination():
    found = experiment(grid={"training.learning_rate": RATES, "segmentation.min_size_vox": SIZES})
    assert [(run.project.training.learning_rate, run.project.segmentation.min_size_vox) for run in found.runs] == list(
        itertools.product(RATES, SIZES)
    )


def test_a_sweep_shares_what_its_runs_have_in_common():
    """3 x 4 over learning rate and minimum segment size trains three times."""
    found = experiment(grid={"training.learning_rate": RATES, "segmentation.min_size_vox": SIZES})
    assert found.executions() == {
        "import": 3,
        "train": 3,
        "choose checkpoint": 3,
        "predict": 6,
        "sweep": 12,
        "choose threshold": 12,
        "label": 24,
        "segment": 24,
        "evaluate": 24,
    }
    assert "12 runs" in found.summary()
    assert "train 3," in found.summary()


def test_zip_goes_through_lists_together():
    assert changed(zip={"seed": [1, 2], "training.steps": [10, 20]}) == [
        {"seed": 1, "training.steps": 10},
        {"seed": 2, "training.steps": 20},
    ]


def test_a_list_names_each_run_and_what_is_given_together_is_crossed():
    runs = [{"training.steps": 10}, {"training.steps": 20, "network": {"name": "rsunet", "width": [8, 16]}}]
    found = experiment(list=runs, grid={"seed": [1, 2]})
    assert [run.changed for run in found.runs] == [{**told, "seed": seed} for told in runs for seed in (1, 2)]
    assert found.runs[2].project.network.width == (8, 16)


def test_random_draws_within_ranges_and_more_runs_keep_the_first():
    settings = {
        "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "segmentation.min_size_vox": {"low": 0, "high": 50},
        "training.batch_size": [1, 2],
        "augment.contrast": {"low": 0.1, "high": 0.4},
    }
    drawn = changed(random={"count": 200, "seed": 3, "settings": settings})
    rates = [told["training.learning_rate"] for told in drawn]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert 0.35 < sum(math.log10(rate) < -3 for rate in rates) / 200 < 0.65, "even in the logarithm"
    assert {type(told["segmentation.min_size_vox"]) for told in drawn} == {int}
    assert {told["training.batch_size"] for told in drawn} == {1, 2}
    assert all(0.1 <= told["augment.contrast"] <= 0.4 for told in drawn)
    assert changed(random={"count": 5, "seed": 3, "settings": settings}) == drawn[:5]
    assert changed(random={"count": 5, "seed": 4, "settings": settings}) != drawn[:5]


def test_the_same_settings_are_one_run():
    assert changed(list=[{"seed": 1}, {"seed": 2}, {"seed": 1}]) == [{"seed": 1}, {"seed": 2}]


def test_another_value_makes_only_what_is_new():
    before, after = (experiment(grid={"training.learning_rate": rates}) for rates in (RATES, [*RATES, 8e-3]))
    files = [{file for run in found.runs for file in Paths(run.project).last_files()} for found in (before, after)]
    assert files[0] < files[1]
    new = {identity.model_id(after.runs[-1].project), identity.evaluation_id(after.runs[-1].project)}
    assert all(any(name in file for file in files[1] - files[0]) for name in new)


def test_runs_are_named_by_what_varies():
    found = experiment(grid={"training.learning_rate": [0.001], "seed": [1, 2]})
    assert [run.name for run in found.runs] == ["learning_rate=0.001 seed=1", "learning_rate=0.001 seed=2"]
    assert {run.repeats for run in found.runs} == {"learning_rate=0.001"}
    assert found.runs[0].page == "runs/learning_rate=0.001+seed=1/"
    assert {run.repeats for run in experiment(grid={"seed": [1, 2]}).runs} == {"base"}
    same_ends = experiment(grid={"volumes.train.seed": [4], "volumes.val.seed": [5], "seed": [6]})
    assert [run.name for run in same_ends.runs] == ["train.seed=4 val.seed=5 seed=6"]


def test_names_make_usable_folders():
    long = experiment(list=[{"network": {"name": "rsunet", "width": [8, 8 * n]}} for n in (1, 2)])
    assert [run.name for run in long.runs] == [f'network={{"name":"rsunet","width":[8,{8 * n}]}}' for n in (1, 2)]
    pages = [run.page for run in long.runs]
    assert len(set(pages)) == 2
    assert all(set(page) <= set("abcdefghijklmnopqrstuvwxyz0123456789=._+-/") and len(page) < 110 for page in pages)


def test_values_are_known_as_the_settings_take_them(tmp_path):
    """YAML takes 1e-3 for a text."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(BASE) + "sweep: {grid: {training.learning_rate: [1e-3, 2e-3]}}")
    assert [run.changed["training.learning_rate"] for run in load_experiment(path).runs] == [0.001, 0.002]


def test_a_sweep_can_be_given_and_changed_by_overrides(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**BASE, "sweep": {"random": {"count": 3, "settings": {"seed": {"low": 0, "high": 999}}}}}))
    assert len(load_experiment(path, ["sweep.random.count=7"]).runs) == 7
    assert len(load_experiment(path, ["sweep={grid: {seed: [1, 2]}}"]).runs) == 2


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({}, "config: sweep: nothing varies; give grid, zip, list, random or folds"),
        ({"gird": {"seed": [1]}}, "config: sweep: gird: unknown key; did you mean 'grid'?"),
        ({"grid": {"seed": []}}, "config: sweep: grid.seed: "),
        ({"grid": {"seed": 1}}, "config: sweep: grid.seed: "),
        (
            {"zip": {"seed": [1, 2], "training.steps": [5]}},
            "zip: all lists must have the same length; seed has 2, ",
        ),
        ({"grid": {"seed": [1]}, "zip": {"seed": [2]}}, "seed is set twice"),
        ({"grid": {"training": [{}], "training.steps": [2]}}, "training and training.steps are set, one within the other"),
        ({"grid": {"training.lerning_rate": [1]}}, "run lerning_rate=1: training.lerning_rate: unknown key; did you mean"),
        ({"grid": {"training.steps": [-5]}}, "run steps=-5: training.steps: Input should be greater than 0, got -5"),
        ({"grid": {"training.workers": [1, 2]}}, "training.workers says how results are computed and not what"),
        ({"grid": {"results": ["a", "b"]}}, "results says how results are computed and not what"),
        ({"grid": {"project": ["a", "b"]}}, "the project is one folder for all runs"),
        ({"random": {"count": 2, "settings": {"seed": {"low": 5, "high": 5}}}}, "low must be below high, got 5 and 5"),
        ({"random": {"count": 2, "settings": {"seed": {"low": 0, "high": 5, "log": True}}}}, "log: low must be above 0, got 0"),
        ({"random": {"count": 2}}, "random.settings: is missing"),
    ],
)
def test_a_mistake_says_where_and_what(sweep, message):
    with pytest.raises(UserError) as caught:
        experiment(**sweep)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
