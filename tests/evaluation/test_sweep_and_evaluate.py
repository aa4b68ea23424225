"""The sweep, the choice, the segmentation at it and its scores, on two neurons that merge below a threshold of 0.6."""

import csv
from dataclasses import replace

import pytest

from pipeline_lib.artefacts import read_json, write_json
from pipeline_lib.errors import UserError
from pipeline_lib.evaluation import choose_threshold, evaluate_volume, sweep_volume
from pipeline_lib.segmentation import segment_volume
from pipeline_lib.settings.scoring import EvaluationSettings, SegmentationSettings, SweepSettings
from pipeline_lib.settings.stages import EvaluateStage, SweepStage
from pipeline_lib.volumes import open_array


def stage(**evaluation):
    return SweepStage(
        segmentation=SegmentationSettings(),
        sweep=SweepSettings(thresholds=(0.3, 0.7, 0.95)),
        evaluation=EvaluationSettings(**evaluation),
    )


def swept(volume, prediction, folder, **evaluation):
    sweep_volume(stage(**evaluation), prediction, volume, folder)
    return read_json(folder / "curve.json")


def test_the_curve_holds_what_each_threshold_would_score(volume, prediction, tmp_path):
    curve = swept(volume, prediction, tmp_path / "sweep")
    assert [p["threshold"] for p in curve["points"]] == [0.3, 0.7, 0.95]
    assert [p["n_segments"] for p in curve["points"]] == [1, 2, 0]
    assert [p["skeletons"]["nerl"] for p in curve["points"]] == [0, 1, 0]
    merged, right, nothing = (p["voxels"] for p in curve["points"])
    assert (merged["voi_split"], merged["voi_merge"]) == (0, 1)
    assert (right["voi_split"], right["voi_merge"]) == (0, 0)
    assert (nothing["voi_split"], nothing["voi_merge"]) == (0, 1)


def test_choice_segmentation_and_scores_agree(volume, prediction, tmp_path):
    curve = swept(volume, prediction, tmp_path / "sweep")
    choice = choose_threshold([curve], by="nerl")
    assert (choice["threshold"], choice["value"], choice["warning"]) == (0.7, 1.0, None)
    write_json(tmp_path / "choice.json", choice)
    segmented = tmp_path / "segmentations" / "chosen" / "val-00000000"
    segment_volume(SegmentationSettings(), prediction, volume, segmented, choice=tmp_path / "choice.json")
    array = open_array(segmented / "segmentation.zarr" / "0")
    assert array.attrs["threshold"] == 0.7
    assert (array.shape, array.dtype, array[:].max()) == (volume.shape_vox, "uint32", 2)
    scores = tmp_path / "evaluation"
    evaluate_volume(EvaluateStage(name="val", split="val", evaluation=EvaluationSettings()), segmented, volume, scores)
    metrics = read_json(scores / "metrics.json")
    assert metrics["choice"] == choice
    assert metrics["segmentation_id"] == "chosen"
    assert metrics["skeletons"] == curve["points"][1]["skeletons"]
    assert metrics["voxels"] == curve["points"][1]["voxels"]
    rows = list(csv.DictReader((scores / "skeletons.csv").open()))
    assert [(row["skeleton"], row["length_nm"], row["merged"]) for row in rows] == [("1", "210.0", "0"), ("2", "210.0", "0")]


def test_without_a_threshold_there_is_no_segmentation(volume, prediction, tmp_path):
    with pytest.raises(UserError, match=r"there is no threshold: give the choice of a sweep, or segmentation\.threshold"):
        segment_volume(SegmentationSettings(), prediction, volume, tmp_path / "segmentation")
    assert not (tmp_path / "segmentation").exists()


def test_errors_are_listed_with_their_places(volume, prediction, tmp_path):
    segmented = tmp_path / "segmentations" / "t0.3" / "val-00000000"
    segment_volume(SegmentationSettings(threshold=0.3), prediction, volume, segmented)
    evaluate_volume(
        EvaluateStage(name="val", split="val", evaluation=EvaluationSettings()), segmented, volume, tmp_path / "evaluation"
    )
    (row,) = csv.DictReader((tmp_path / "evaluation" / "errors.csv").open())
    assert (row["kind"], row["segments"], sorted(row["skeletons"].split())) == ("merger", "1", ["1", "2"])
    assert float(row["loss_nm"]) == pytest.approx(210, abs=0.1)
    assert [int(float(row[f"{a}_nm"]) // s) for a, s in zip("zyx", volume.voxel_size_nm, strict=True)] == [
        int(row[f"{a}_vox"]) for a in "zyx"
    ]


def test_metrics_that_are_off_or_cannot_be_computed(volume, prediction, tmp_path):
    curve = swept(volume, prediction, tmp_path / "a", skeleton_metrics=False)
    assert all(point["skeletons"] is None for point in curve["points"])
    assert choose_threshold([curve], by="voi_voxels")["threshold"] == 0.7
    with pytest.raises(UserError, match=r"choose_by is nerl, but val volume val has no skeletons to score"):
        choose_threshold([curve], by="nerl")
    bare = replace(volume, skeletons_path=None, labels_path=None)
    with pytest.raises(UserError, match="skeleton_metrics is on, but volume val has no skeletons"):
        swept(bare, prediction, tmp_path / "b", skeleton_metrics=True)
    with pytest.raises(UserError, match="voxel_metrics is on, but volume val has no labels"):
        swept(bare, prediction, tmp_path / "c", voxel_metrics=True)
    assert not (tmp_path / "b" / "curve.json").exists()


def test_skeletons_outside_the_volume_are_refused(volume, prediction, tmp_path):
    with pytest.raises(UserError, match=r"volume val: 8 skeleton nodes lie outside, such as \[130.0, 55.0, 125.0\] nm"):
        swept(replace(volume, voxel_size_nm=(20.0, 10.0, 4.0), shape_vox=(12, 24, 24)), prediction, tmp_path / "sweep")


def point(threshold, nerl, mergers=0):
    skeletons = {"nerl": nerl, "voi_split": 1 - nerl, "voi_merge": 0, "n_non0_mergers": mergers}
    return {"threshold": threshold, "n_segments": 1, "skeletons": skeletons, "voxels": None}


def test_the_choice_is_the_best_mean_over_volumes():
    one = {"volume": "a", "points": [point(0.3, 0.9, mergers=2), point(0.5, 0.6), point(0.7, 0.1)]}
    two = {"volume": "b", "points": [point(0.3, 0.1), point(0.5, 0.6), point(0.7, 0.5)]}
    choice = choose_threshold([one, two], by="nerl")
    assert (choice["threshold"], choice["volumes"]) == (0.5, ["a", "b"])
    assert choice["value"] == pytest.approx(0.6)
    alone = choose_threshold([one], by="nerl")
    assert (alone["threshold"], alone["best_by"]["nerl_without_merger"]["threshold"]) == (0.3, 0.5)
    assert alone["warning"] == "the best threshold 0.3 is at the end of the range that was tried"


def test_of_equal_thresholds_the_highest_is_taken():
    assert (
        choose_threshold([{"volume": "a", "points": [point(t, 0.5) for t in (0.3, 0.5, 0.7, 0.8)]}], by="nerl")["threshold"]
        == 0.8
    )
