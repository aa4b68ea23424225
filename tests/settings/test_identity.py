"""What enters which identity: the rules by which work is shared and redone."""

import pytest

from pipeline_lib.settings import identity, parse_project, stages
from pipeline_lib.settings.paths import Paths

BASE = {
    "project": "x",
    "volumes": {
        "train": {"kind": "synthetic", "split": "train", "shape_vox": [64, 64, 64], "seed": 1},
        "val": {"kind": "synthetic", "split": "val", "shape_vox": [64, 64, 64], "seed": 2},
        "test": {"kind": "synthetic", "split": "test", "shape_vox": [64, 64, 64], "seed": 3},
    },
}
IDS = [
    lambda p: identity.volume_id(p, "train"),
    identity.model_id,
    identity.prediction_id,
    identity.sweep_id,
    identity.segmentation_id,
    identity.evaluation_id,
]
NAMES = ["volume", "model", "prediction", "sweep", "segmentation", "evaluation"]
# A change and the first identity that it enters; all later ones follow, none before does.
CHANGES = [
    ({"volumes.train.seed": 9}, "volume"),
    ({"seed": 5}, "model"),
    ({"training.steps": 7}, "model"),
    ({"training.segment_steps": 100}, "model"),
    ({"network": {"name": "rsunet", "width": [8, 16]}}, "model"),
    ({"augment.noise": 0.5}, "model"),
    ({"targets.erode_labels_vox": 0}, "model"),
    ({"volumes.val.seed": 9}, "model"),
    ({"inference.logit_scale": 1.0}, "prediction"),
    ({"inference.patch_vox": [32, 32, 32]}, "prediction"),
    ({"segmentation.min_size_vox": 10}, "sweep"),
    ({"choice.thresholds": [0.5, 0.6]}, "sweep"),
    ({"evaluation.merge_tolerance": 3}, "sweep"),
    ({"segmentation.threshold": 0.5}, "segmentation"),
    ({"evaluation.worst_errors": 3}, "evaluation"),
]
EXECUTION = [
    {"training.workers": 3},
    {"training.log_every_steps": 1},
    {"training.save_every_s": 5},
    {"training.validate_every_steps": 7},
    {"inference.block_vox": [128, 128, 128]},
    {"segmentation.block_vox": [128, 128, 128]},
    {"evaluation.block_vox": [128, 128, 128]},
    {"blocks_per_job": {"predict": 3, "label": 1}},
    {"results": "elsewhere"},
    {"volumes.test.seed": 9},  # of a test volume only its own id
]


@pytest.mark.parametrize(("change", "first"), CHANGES, ids=lambda v: v if isinstance(v, str) else next(iter(v)))
def test_a_science_setting_renames_what_follows_and_nothing_before(change, first):
    before, after = parse_project(BASE), parse_project({**BASE, **change})
    changed = [of(before) != of(after) for of in IDS]
    start = NAMES.index(first)
    assert changed == [i >= start for i in range(len(IDS))]


STAGES = {
    "model": stages.train_stage,
    "prediction": stages.predict_stage,
    "sweep": stages.sweep_stage,
    "segmentation": stages.segment_stage,
    "evaluation": lambda project: stages.evaluate_stage(project, "test"),
}


@pytest.mark.parametrize("change", [change for change, _ in CHANGES], ids=lambda v: next(iter(v)))
def test_a_stage_is_told_nothing_that_its_identity_leaves_out(change):
    before, after = parse_project(BASE), parse_project({**BASE, **change})
    for name, identity_of in zip(NAMES[1:], IDS[1:], strict=True):
        if identity_of(before) == identity_of(after):
            assert stages.science_json(STAGES[name](before)) == stages.science_json(STAGES[name](after)), name


@pytest.mark.parametrize("change", EXECUTION, ids=lambda v: next(iter(v)))
def test_an_execution_setting_renames_nothing(change):
    before, after = parse_project(BASE), parse_project({**BASE, **change})
    assert [of(before) for of in IDS] == [of(after) for of in IDS]


def test_the_split_of_a_volume_is_not_part_of_its_import():
    before, after = parse_project(BASE), parse_project({**BASE, "volumes.test.split": "val"})
    assert identity.volume_id(before, "test") == identity.volume_id(after, "test")
    assert stages.import_stage(before, "test") == stages.import_stage(after, "test")


def test_the_order_of_keys_does_not_matter():
    assert identity.digest({"a": 1, "b": 2}) == identity.digest({"b": 2, "a": 1})
    assert identity.digest(1, 2) != identity.digest(2, 1)


def test_a_stage_gets_back_what_the_project_says():
    project = parse_project({**BASE, "training.workers": 3, "training.steps": 7})
    told = stages.load_stage(
        stages.TrainStage, stages.science_json(stages.train_stage(project)), stages.execution_json(project)
    )
    assert told == stages.train_stage(project)
    assert "workers" not in stages.science_json(project)
    assert '"steps"' not in stages.execution_json(project)


def test_without_val_volumes_the_last_checkpoint_is_taken():
    volumes = {name: volume for name, volume in BASE["volumes"].items() if name != "val"}
    alone = Paths(parse_project({**BASE, "volumes": volumes, "segmentation.threshold": 0.5}))
    assert alone.network() == alone.checkpoint(5000)
    assert Paths(parse_project(BASE)).network().endswith("/best.json")


def test_segments_of_training_chain():
    paths = Paths(parse_project({**BASE, "training.steps": 250, "training.segment_steps": 100}))
    assert [p.split("/")[-2] for p in paths.checkpoints()] == ["100", "200", "250"]
    assert paths.checkpoint_before(100) == []
    assert paths.checkpoint_before(250) == [paths.checkpoint(200)]
