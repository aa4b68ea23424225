from pathlib import Path

import pytest

from pipeline_lib.errors import UserError
from pipeline_lib.settings import load_experiment, parse_project
from pipeline_lib.settings.reference import settings_reference

ROOT = Path(__file__).parents[2]


def config(**changes):
    """A sound config, with changes by dotted key."""
    volume = {"kind": "synthetic", "shape_vox": [64, 64, 64]}
    volumes = {name: {**volume, "split": name} for name in ("train", "val", "test")}
    return {"project": "x", "volumes": volumes, **{key.replace("__", "."): value for key, value in changes.items()}}


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configs_are_sound(path):
    assert load_experiment(path).base.project == path.stem


MISTAKES = [
    ({"training__stepps": 3}, r"^config: training\.stepps: unknown key; did you mean 'steps'\?$"),
    ({"netwrk": {}}, r"netwrk: unknown key; did you mean 'network'\?"),
    ({"volumes__train__shpe_vox": 1}, r"volumes\.train\.shpe_vox: unknown key; did you mean 'shape_vox'\?"),
    ({"blocks_per_job": {"predit": 3}}, r"^config: blocks_per_job\.predit: unknown key; did you mean 'predict'\?$"),
    ({"blocks_per_job": {"predict": 0}}, r"blocks_per_job\.predict: Input should be greater than or equal to 1, got 0"),
    ({"zzz": 1}, r"zzz: unknown key; known are project, results"),
    ({"training__steps": "many"}, r"training\.steps: Input should be a valid integer.*got 'many'"),
    ({"training__learning_rate": -1}, r"training\.learning_rate: Input should be greater than 0, got -1"),
    ({"training__learning_rate": float("nan")}, r"training\.learning_rate: Input should be a finite number"),
    ({"network__name": "rsunt"}, r"^config: network\.name: unknown 'rsunt'; did you mean 'rsunet'\?$"),
    ({"volumes__train__kind": "zzz"}, r"^config: volumes\.train\.kind: unknown 'zzz'; known are arrays, nisb, synthetic$"),
    ({"volumes__train": None}, r"^config: volumes\.train: expected a group of settings, got None$"),
    ({"results": ""}, r"results: String should have at least 1 character"),
    ({"results": "a{b}"}, r"results: a path must not hold braces.*'a\{b\}'"),
    ({"training__segment_steps": 0}, r"training\.segment_steps: Input should be greater than 0, got 0"),
    ({"network__width": [8, 16]}, r"^config: network\.name: is missing$"),
    ({"training__patch_vox": [63, 64, 64]}, r"patch_vox \(63, 64, 64\) is not accepted by rsunet.*nearest accepted"),
    ({"inference__patch_vox": [64, 64, 65]}, r"patch_vox \(64, 64, 65\) is not accepted by rsunet"),
    (
        {"inference__block_vox": [100, 128, 128]},
        r"inference.block_vox: must be a multiple of the shard \[128, 128, 128\], got",
    ),
    ({"targets__offsets_vox": [[0, 0, 1]]}, r"the first three offsets must be"),
    ({"volumes__val__split": "test"}, r"no volume has split val, so no threshold can be chosen"),
    ({"volumes__train__split": "test"}, r"none has split train"),
    ({"volumes": {"a": {"kind": "synthetic", "split": "train", "shape_vox": [8, 8, 8]}}}, r"none has split val or test"),
    ({"choice__thresholds": [0.5, 0.4]}, r"thresholds must rise"),
    ({"project": "a/b"}, r"project: expected letters, digits"),
    (
        {"segmentation": {"flood": True, "grow_vox": 2}},
        r"segmentation: flood fills all background, so grow_vox must be 0, got 2",
    ),
    ({"volumes": {"a b": {"kind": "synthetic", "split": "train", "shape_vox": [1, 1, 1]}}}, r"a volume's name may hold"),
    ({"choice__by": "nerl", "evaluation__skeleton_metrics": False}, r"choice.by is nerl, but evaluation switches"),
    ({"choice__thresholds": "every"}, r"choice\.thresholds"),
    ({"choice": {"thresholds": "all", "by": "voi_voxels"}}, r"all is scored against skeletons, so by cannot be"),
    (
        {"choice__thresholds": "all", "segmentation": {"grow_vox": 1}},
        r"all is exact for components and a size filter only: give a",
    ),
    (
        {"choice__thresholds": "all", "segmentation": {"min_size_vox": 100, "dust": "give"}},
        r"all is exact for components and a size filter only.*leave out segmentation\.grow_vox, flood and dust: give$",
    ),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES, ids=lambda v: v if isinstance(v, str) else next(iter(v)))
def test_a_mistake_says_where_and_what(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_project(config(**changes))
    assert "\n" not in str(caught.value)


def arrays(split, **more):
    return {"split": split, "image": {"path": "a.h5", "array": "raw"}, **more}


LABELS = {"path": "a.h5", "array": "labels"}
VOLUME_MISTAKES = [
    ({"train": arrays("train")}, r"volumes\.train: split train needs labels"),
    ({"train": arrays("train", labels=LABELS, axes="zzx")}, r"volumes\.train\.axes: expected a permutation of zyx.*'zzx'"),
    ({"train": arrays("train", labels=LABELS, imge={})}, r"volumes\.train\.imge: unknown key; did you mean 'image'\?"),
    ({"train": {"split": "train"}}, r"volumes\.train\.image: is missing"),
    (
        {"train": arrays("train", labels=LABELS, intensity_range={"low": 3})},
        r"volumes\.train\.intensity_range: give either low and high, or percentiles",
    ),
    (
        {"train": arrays("train", labels=LABELS, intensity_range={"low": 3, "high": 1})},
        r"low must be below high, got 3.0 and 1.0",
    ),
    (
        {"train": arrays("train", labels=LABELS, intensity_range={"percentiles": [5, 101]})},
        r"percentiles must rise within 0 to 100",
    ),
    ({"train": {"kind": "nisb", "split": "train", "path": "s"}}, r"volumes\.train\.voxel_size_nm: is missing"),
]


@pytest.mark.parametrize(("volumes", "message"), VOLUME_MISTAKES, ids=range(len(VOLUME_MISTAKES)))
def test_a_mistake_in_a_volume_says_where_and_what(volumes, message):
    with pytest.raises(UserError, match=message):
        parse_project({"project": "x", "volumes": volumes, "segmentation.threshold": 0.5})


def test_metrics_that_a_test_volume_cannot_give_are_refused():
    volumes = {"train": arrays("train", labels=LABELS), "test": arrays("test")}
    base = {"project": "x", "volumes": volumes, "segmentation.threshold": 0.5}
    assert parse_project(base).volumes_of("test") == ["test"]
    with pytest.raises(UserError, match=r"evaluation\.voxel_metrics: volume test has no labels"):
        parse_project({**base, "evaluation.voxel_metrics": True})
    with pytest.raises(UserError, match=r"evaluation\.skeleton_metrics: volume test has neither skeletons nor labels"):
        parse_project({**base, "evaluation.skeleton_metrics": True})


def test_several_mistakes_are_counted():
    with pytest.raises(UserError, match=r"\(and 1 more\)"):
        parse_project(config(training__stepps=3, training__steps="x"))


def test_overrides_and_yaml(tmp_path):
    path = tmp_path / "my config.yaml"
    volumes = (
        "  a: {kind: synthetic, split: train, shape_vox: [8, 8, 8]}\n  b: {kind: synthetic, split: test, shape_vox: [8, 8, 8]}"
    )
    path.write_text(f"project: x\nvolumes:\n{volumes}\nsegmentation: {{threshold: 0.5}}\n")
    project = load_experiment(path, ["training.steps=7", "training.learning_rate=1e-4", "segmentation.threshold=0.75"]).base
    assert (project.training.steps, project.training.learning_rate, project.segmentation.threshold) == (7, 1e-4, 0.75)
    with pytest.raises(UserError, match=r"an override is written key=value.*got 'steps'"):
        load_experiment(path, ["steps"])
    with pytest.raises(UserError, match=r"the value of the override 'training.steps=\[' is not valid YAML"):
        load_experiment(path, ["training.steps=["])
    with pytest.raises(UserError, match=r"project\.x: project is not a group of settings"):
        load_experiment(path, ["project.x=1"])
    path.write_text("project: x\nproject: y\n")
    with pytest.raises(UserError, match="the key 'project' stands twice"):
        load_experiment(path)
    path.write_text("- a\n")
    with pytest.raises(UserError, match="expected a mapping of settings, got list"):
        load_experiment(path)
    path.write_text("a: [1\n")
    with pytest.raises(UserError, match="is not valid YAML"):
        load_experiment(path)
    with pytest.raises(UserError, match="cannot read the config"):
        load_experiment(tmp_path / "missing.yaml")


def test_the_table_of_all_settings_is_current():
    assert (ROOT / "docs" / "settings.md").read_text() == settings_reference().rstrip() + "\n", (
        "run: python -m pipeline_lib config reference > docs/settings.md"
    )
