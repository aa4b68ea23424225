"""Folds of a sweep, and the ensemble of them."""

import pytest

from pipeline_lib.errors import UserError
from pipeline_lib.settings import identity, parse_experiment
from pipeline_lib.settings.paths import Paths
from pipeline_lib.settings.project import Ensemble
from pipeline_lib.settings.stages import science


def synthetic(split, seed=0):
    return {"kind": "synthetic", "split": split, "shape_vox": [64, 64, 64], "seed": seed}


CUBES = {name: synthetic("train", seed) for seed, name in enumerate("abc")}
ONE_CUBE = {"cube": synthetic("train"), "test": synthetic("test", 9)}


def runs(volumes, **sweep):
    return parse_experiment({"project": "p", "volumes": volumes, "sweep": sweep}).runs


def splits(run):
    return {name: volume.split for name, volume in run.project.volumes.items()}


def test_each_volume_is_validated_on_once():
    found = runs({**CUBES, "test": synthetic("test", 9)}, folds={"count": 3, "ensemble": False})
    assert [run.name for run in found] == ["fold=1", "fold=2", "fold=3"]
    for held_out, run in zip("abc", found, strict=True):
        others = {name: "train" for name in "abc" if name != held_out}
        assert splits(run) == {**others, held_out: "val", "test": "test"}


def test_more_volumes_than_folds_are_dealt_in_turn():
    found = runs({**CUBES, "d": synthetic("val", 4)}, folds={"count": 2})
    assert [run.project.volumes_of("val") for run in found] == [["a", "c"], ["b", "d"]]


def test_only_the_named_volumes_are_divided():
    found = runs(CUBES, folds={"count": 2, "volumes": ["b", "c"]})
    assert [run.project.volumes_of("val") for run in found] == [["b"], ["c"]]
    assert all("a" in run.project.volumes_of("train") for run in found)


def test_one_cube_in_slabs():
    found = runs(ONE_CUBE, folds={"count": 4, "slabs": "y", "ensemble": False})
    for fold, run in enumerate(found):
        names = [f"cube-y{k + 1}of4" for k in range(4)]
        assert list(run.project.volumes) == [*names, "test"]
        assert run.project.volumes_of("val") == [names[fold]]
        assert [run.project.volumes[name].slab.index for name in names] == [0, 1, 2, 3]
        assert {run.project.volumes[name].slab.axis for name in names} == {"y"}
    ids = [{identity.volume_id(run.project, name) for name in run.project.volumes} for run in found]
    assert ids[0] == ids[1] == ids[2] == ids[3], "slabs are imported once, whatever they are for"


def test_the_ensemble_of_all_folds():
    found = runs(ONE_CUBE, grid={"segmentation.min_size_vox": [0, 9]}, folds={"count": 2, "slabs": "z"})
    assert [run.name for run in found] == [f"min_size_vox={size} fold={fold}" for size in (0, 9) for fold in ("1", "2", "mean")]
    assert [run.repeats for run in found[:3]] == ["min_size_vox=0", "min_size_vox=0", "min_size_vox=0 fold=mean"]
    one, two, ensemble = (run.project for run in found[:3])
    assert isinstance(ensemble, Ensemble)
    assert ensemble.members == (one, two)
    assert list(ensemble.volumes) == ["test"]
    paths = Paths(ensemble)
    assert paths.curves() == [*Paths(one).curves(), *Paths(two).curves()], "each fold on what it has not learned from"
    assert len(paths.curves()) == 2
    assert {path.split("/")[-2].rsplit("-", 1)[0] for path in paths.curves()} == {"cube-z1of2", "cube-z2of2"}
    assert paths.by_stage()["train"] == []
    assert paths.metrics() == [f"{paths.evaluation_folder}/{identity.volume_id(one, 'test')}/metrics.json"]
    other = found[5].project
    assert identity.prediction_id(ensemble) == identity.prediction_id(other), "averaged once"
    assert identity.sweep_id(ensemble) != identity.sweep_id(other)
    assert "members" not in science(ensemble)


def test_the_order_of_runs_and_what_they_share():
    experiment = parse_experiment(
        {"project": "p", "volumes": ONE_CUBE, "sweep": {"grid": {"seed": [1, 2]}, "folds": {"count": 3, "slabs": "x"}}}
    )
    assert experiment.executions() == {
        "import": 4,
        "train": 6,
        "choose checkpoint": 6,
        "predict": 12,
        "average": 2,
        "sweep": 6,
        "choose threshold": 8,
        "label": 14,
        "segment": 14,
        "evaluate": 14,
    }


def test_without_test_volumes_there_is_no_ensemble():
    assert [run.name for run in runs(CUBES, folds={"count": 3})] == ["fold=1", "fold=2", "fold=3"]


@pytest.mark.parametrize(
    ("volumes", "folds", "message"),
    [
        (CUBES, {"count": 4}, "config: sweep.folds: 3 volumes cannot be divided among 4 folds; give fewer folds, or `slabs`"),
        (CUBES, {"count": 1}, "config: sweep: folds.count: Input should be greater than or equal to 2, got 1"),
        (CUBES, {"count": 2, "volumes": ["a", "z"]}, "config: sweep.folds.volumes: 'z' is none of the volumes a, b, c"),
        (
            {"a": {**synthetic("train"), "slab": {"of": 2, "index": 0}}},
            {"count": 2, "slabs": "z"},
            "volume a is a slab already",
        ),
    ],
)
def test_mistakes(volumes, folds, message):
    with pytest.raises(UserError) as caught:
        runs(volumes, folds=folds)
    assert message in str(caught.value)
