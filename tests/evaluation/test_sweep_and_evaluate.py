"""The sweep, the choice, the segmentation at it and its scores, on two neurons that merge below a threshold of 0.6."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.artefacts import Budget, Run, Step, read_json, write_json
from pipeline_lib.errors import UserError
from pipeline_lib.evaluation import choose_threshold, evaluate_volume, sweep_volume
from pipeline_lib.segmentation import label_volume, segment_volume
from pipeline_lib.settings.scoring import ChoiceSettings, EvaluationSettings, SegmentationSettings
from pipeline_lib.settings.stages import EvaluateStage, SweepStage
from pipeline_lib.volumes import open_array


def stage(thresholds=(0.3, 0.7, 0.95), *, method=None, **evaluation):
    return SweepStage(
        segmentation=SegmentationSettings(**(method or {})),
        choice=ChoiceSettings(thresholds=thresholds),
        evaluation=EvaluationSettings(**evaluation),
    )


RUN = Run(Budget(memory_mb=4000))


def segmented(settings, prediction, volume, folder, *, choice=None):
    """Label and segment, as the workflow does."""
    label_volume(settings, prediction, volume, folder / "components", choice=choice, run=RUN)
    segment_volume(settings, prediction, volume, folder, components=folder / "components", run=RUN)


def evaluated(folder, volume, scores):
    stage = EvaluateStage(name="val", split="val", evaluation=EvaluationSettings())
    evaluate_volume(stage, folder, volume, scores, run=RUN)


def swept(volume, prediction, folder, **options):
    """The path of the curve and what it holds."""
    sweep_volume(stage(**options), prediction, volume, folder, run=RUN)
    return folder / "curve.json", read_json(folder / "curve.json")


def test_the_curve_holds_what_each_threshold_would_score(volume, prediction, tmp_path):
    _, curve = swept(volume, prediction, tmp_path / "sweep")
    assert [p["threshold"] for p in curve["points"]] == [0.3, 0.7, 0.95]
    assert [p["n_segments"] for p in curve["points"]] == [1, 2, 0]
    assert [p["skeletons"]["nerl"] for p in curve["points"]] == [0, 1, 0]
    merged, right, nothing = (p["voxels"] for p in curve["points"])
    assert (merged["voi_split"], merged["voi_merge"]) == (0, 1)
    assert (right["voi_split"], right["voi_merge"]) == (0, 0)
    assert (nothing["voi_split"], nothing["voi_merge"]) == (0, 1)


@pytest.mark.parametrize("method", [None, {"grow_vox": 1}], ids=["in blocks", "whole"])
def test_a_complete_sweep_needs_no_memory(volume, prediction, tmp_path, method):
    for memory_mb in (4000, 1):
        for step in ("plan", "all"):
            run = Run(Budget(memory_mb), Step.parse(step))
            sweep_volume(stage(method=method), prediction, volume, tmp_path / "sweep", run=run)


def test_every_level_is_told_as_the_thresholds_are(volume, prediction, tmp_path):
    _, curve = swept(volume, prediction, tmp_path / "sweep")
    levels = curve["levels"]
    assert levels["threshold"] == pytest.approx(np.arange(254, 62, -1) / 255)
    for point in curve["points"]:
        i = 254 - int(np.floor(255 * point["threshold"] + 1e-9))
        assert levels["n_segments"][i] == point["n_segments"]
        assert levels["nerl_by_tolerance"]["5"][i] == pytest.approx(point["skeletons"]["nerl_by_tolerance"]["5"])
        for name in ("nerl", "voi_split", "voi_merge", "n_splits", "n_mergers", "n_non0_mergers"):
            assert levels[name][i] == pytest.approx(point["skeletons"][name])


@pytest.mark.parametrize("method", [{"grow_vox": 1}, {"flood": True}, {"min_size_vox": 9, "dust": "give"}])
def test_levels_are_left_out_where_segments_are_more_than_components(volume, prediction, tmp_path, method):
    assert swept(volume, prediction, tmp_path / "sweep", method=method)[1]["levels"] is None


@pytest.mark.parametrize("min_size_vox", [0, 3600])
def test_all_levels_can_be_tried(volume, prediction, tmp_path, min_size_vox):
    path, curve = swept(volume, prediction, tmp_path / "sweep", thresholds="all", method={"min_size_vox": min_size_vox})
    assert [p["threshold"] for p in curve["points"]] == curve["levels"]["threshold"][::-1]
    assert all(p["voxels"] is None for p in curve["points"])
    choice = choose_threshold([path], by="nerl")
    # Two neurons of 3456 voxels from the level of the border, 153, up to their own, 230; one of twice the size below.
    assert (choice["threshold"], choice["value"]) == ((229 / 255, 1.0) if min_size_vox == 0 else (254 / 255, 0.0))
    at_border = next(p for p in curve["points"] if p["threshold"] == 152 / 255)
    assert (at_border["n_segments"], at_border["skeletons"]["n_non0_mergers"]) == (1, 2)
    assert choice["flatness"]["from_threshold"] == pytest.approx(153 / 255 if min_size_vox == 0 else 63 / 255)


def test_all_levels_need_skeletons(volume, prediction, tmp_path):
    bare = replace(volume, skeletons_path=None)
    message = r"choice.thresholds: all scores components at the nodes of skeletons, but volume val has no skeletons"
    with pytest.raises(UserError, match=message):
        swept(bare, prediction, tmp_path / "sweep", thresholds="all")
    assert not (tmp_path / "sweep" / "curve.json").exists()


def test_choice_segmentation_and_scores_agree(volume, prediction, tmp_path):
    path, curve = swept(volume, prediction, tmp_path / "sweep")
    choice = choose_threshold([path], by="nerl")
    assert (choice["threshold"], choice["value"], choice["warning"]) == (0.7, 1.0, None)
    write_json(tmp_path / "choice.json", choice)
    folder = tmp_path / "segmentations" / "chosen" / "val-00000000"
    segmented(SegmentationSettings(), prediction, volume, folder, choice=tmp_path / "choice.json")
    array = open_array(folder / "segmentation.zarr" / "0")
    assert array.attrs["threshold"] == 0.7
    assert (array.shape, array.dtype, array[:].max()) == (volume.shape_vox, "uint32", 2)
    scores = tmp_path / "evaluation"
    evaluated(folder, volume, scores)
    metrics = read_json(scores / "metrics.json")
    assert metrics["choice"] == choice
    assert metrics["segmentation_id"] == "chosen"
    assert metrics["skeletons"] == curve["points"][1]["skeletons"]
    assert metrics["voxels"] == curve["points"][1]["voxels"]
    rows = list(csv.DictReader((scores / "skeletons.csv").open()))
    assert [(row["skeleton"], row["length_nm"], row["merged"]) for row in rows] == [("1", "210.0", "0"), ("2", "210.0", "0")]


def test_without_a_threshold_there_is_no_segmentation(volume, prediction, tmp_path):
    with pytest.raises(UserError, match=r"there is no threshold: give the choice of a sweep, or segmentation\.threshold"):
        segmented(SegmentationSettings(), prediction, volume, tmp_path / "segmentation")
    assert not (tmp_path / "segmentation").exists()


def test_errors_are_listed_with_their_places(volume, prediction, tmp_path):
    folder = tmp_path / "segmentations" / "t0.3" / "val-00000000"
    segmented(SegmentationSettings(threshold=0.3), prediction, volume, folder)
    evaluated(folder, volume, tmp_path / "evaluation")
    (row,) = csv.DictReader((tmp_path / "evaluation" / "errors.csv").open())
    assert (row["kind"], row["segments"], sorted(row["skeletons"].split())) == ("merger", "1", ["1", "2"])
    assert float(row["loss_nm"]) == pytest.approx(210, abs=0.1)
    assert [int(float(row[f"{a}_nm"]) // s) for a, s in zip("zyx", volume.voxel_size_nm, strict=True)] == [
        int(row[f"{a}_vox"]) for a in "zyx"
    ]


def test_the_settings_say_how_many_errors_are_listed_and_what_is_a_merger(volume, prediction, tmp_path):
    """At 0.3 both neurons, of eight nodes each, are one segment on either side of two sections without any edge."""
    affinities = open_array(prediction / "affinities.zarr" / "0")
    affinities[:, :, :, 2:4] = 0
    folder = tmp_path / "segmentations" / "t0.3" / "val-00000000"
    segmented(SegmentationSettings(threshold=0.3), prediction, volume, folder)

    def kinds(name, **settings):
        told = EvaluateStage(name="val", split="val", evaluation=EvaluationSettings(**settings))
        evaluate_volume(told, folder, volume, tmp_path / name, run=RUN)
        rows = list(csv.DictReader((tmp_path / name / "errors.csv").open()))
        losses = [float(row["loss_nm"]) for row in rows]
        assert losses == sorted(losses, reverse=True)
        return [row["kind"] for row in rows]

    assert kinds("all") == ["merger", "split", "split", "merger"]
    assert kinds("one", worst_errors=1) == ["merger"]
    assert kinds("tolerant", merge_tolerance=8) == ["split", "split"]


def test_metrics_that_are_off_or_cannot_be_computed(volume, prediction, tmp_path):
    path, curve = swept(volume, prediction, tmp_path / "a", skeleton_metrics=False)
    assert all(point["skeletons"] is None for point in curve["points"])
    choice = choose_threshold([path], by="voi_voxels")
    assert (choice["threshold"], choice["flatness"]["indistinguishable"]) == (0.7, None)
    with pytest.raises(UserError, match=r"choice.by is nerl, but val volume val has no skeletons to score"):
        choose_threshold([path], by="nerl")
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


@pytest.fixture
def curve_of(tmp_path):
    """Writes a curve and what it keeps of skeletons: by default ten of equal length, each as good as the whole."""

    def write(name, points, *, nerl_of_skeletons=None):
        folder = tmp_path / name
        write_json(folder / "curve.json", {"schema": 2, "volume": name, "points": points, "levels": None})
        nerl = np.tile([[p["skeletons"]["nerl"]] for p in points], 10) if nerl_of_skeletons is None else nerl_of_skeletons
        n = nerl.shape[1]
        kept = {"length_nm": np.full(n, 100.0), "n_nodes": np.full(n, 7), "erl_nm": 100 * nerl, "voi_sum": 1 - nerl}
        np.savez_compressed(folder / "skeletons.npz", **kept)
        return folder / "curve.json"

    return write


def test_the_choice_is_the_best_mean_over_volumes(curve_of):
    one = curve_of("a", [point(0.3, 0.9, mergers=2), point(0.5, 0.6), point(0.7, 0.1)])
    two = curve_of("b", [point(0.3, 0.1), point(0.5, 0.6), point(0.7, 0.5)])
    choice = choose_threshold([one, two], by="nerl")
    assert (choice["threshold"], choice["volumes"], choice["warning"]) == (0.5, ["a", "b"], None)
    assert choice["value"] == pytest.approx(0.6)
    alone = choose_threshold([one], by="nerl")
    assert (alone["threshold"], alone["best_by"]["nerl_without_merger"]["threshold"]) == (0.3, 0.5)
    assert (alone["best_by"]["voi_skeletons"]["value"], alone["best_by"]["voi_skeletons_without_merger"]["value"]) == (
        pytest.approx(0.1),
        pytest.approx(0.4),
    )
    assert "voi_voxels" not in alone["best_by"]
    assert alone["warning"] == "the best threshold 0.3 is at the end of the range that was tried"


@pytest.mark.parametrize(("best", "warned"), [(0, True), (1, False), (2, False), (3, True)])
def test_a_best_threshold_at_either_end_of_the_range_is_warned_of(curve_of, best, warned):
    thresholds = (0.3, 0.5, 0.7, 0.8)
    points = [point(t, 0.9 if i == best else 0.1) for i, t in enumerate(thresholds)]
    expected = f"the best threshold {thresholds[best]} is at the end of the range that was tried" if warned else None
    assert choose_threshold([curve_of("a", points)], by="nerl")["warning"] == expected
    assert choose_threshold([curve_of("b", points[:1])], by="nerl")["warning"] is None


def test_every_measure_is_told_without_mergers_too(curve_of):
    """By voxels 0.3 is best, and of those without a merger 0.7; where nothing is without one, nothing is told."""
    points = [point(0.3, 0.9, mergers=2), point(0.5, 0.6), point(0.7, 0.1)]
    for one, voi_sum in zip(points, (1.0, 3.0, 2.0), strict=True):
        one["voxels"] = {"voi_sum": voi_sum}
    best_by = choose_threshold([curve_of("a", points)], by="nerl")["best_by"]
    assert {name: (best["threshold"], round(best["value"], 9)) for name, best in best_by.items()} == {
        "nerl": (0.3, 0.9),
        "nerl_without_merger": (0.5, 0.6),
        "voi_skeletons": (0.3, 0.1),
        "voi_skeletons_without_merger": (0.5, 0.4),
        "voi_voxels": (0.3, 1.0),
        "voi_voxels_without_merger": (0.7, 2.0),
    }
    merged = [{**one, "skeletons": {**one["skeletons"], "n_non0_mergers": 1}} for one in points]
    assert set(choose_threshold([curve_of("b", merged)], by="nerl")["best_by"]) == {"nerl", "voi_skeletons", "voi_voxels"}


def test_the_choice_is_by_nerl_at_the_tolerance_of_the_settings(volume, prediction, tmp_path):
    """At 0.3 both neurons are one segment, which is no merger where eight nodes are tolerated."""
    affinities = open_array(prediction / "affinities.zarr" / "0")
    affinities[2, :, :, 11] = round(255 * 0.5)  # both neurons are cut above 0.5
    for tolerance, threshold in ((0, 0.7), (8, 0.3)):
        path, curve = swept(volume, prediction, tmp_path / str(tolerance), merge_tolerance=tolerance)
        assert {p["skeletons"]["merge_tolerance"] for p in curve["points"]} == {tolerance}
        choice = choose_threshold([path], by="nerl")
        assert choice["threshold"] == choice["best_by"]["nerl_without_merger"]["threshold"] == threshold


def test_of_equal_thresholds_the_highest_is_taken(curve_of):
    curve = curve_of("a", [point(t, 0.5) for t in (0.3, 0.5, 0.7, 0.8)])
    assert choose_threshold([curve], by="nerl")["threshold"] == 0.8


def test_flatness_is_the_range_next_to_the_choice_within_one_percent(curve_of):
    nerls = {0.2: 0.899, 0.3: 0.5, 0.4: 0.892, 0.5: 0.9, 0.6: 0.895, 0.7: 0.890}
    choice = choose_threshold([curve_of("a", [point(t, nerl) for t, nerl in nerls.items()])], by="nerl")
    flatness = choice["flatness"]
    assert (choice["threshold"], flatness["within"]) == (0.5, 0.01)
    assert (flatness["from_threshold"], flatness["to_threshold"]) == (0.4, 0.6)


@pytest.mark.parametrize("by", ["nerl", "voi_skeletons"])
def test_what_skeletons_drawn_anew_cannot_tell_from_the_choice(curve_of, by):
    """At 0.5 one skeleton of ten decides, at 0.6 all are a little worse, at 0.7 it is a matter of chance."""
    nerl = np.full((4, 10), 0.8)
    nerl[1, 0] = 0.6
    nerl[2] = 0.79
    nerl[3] += 0.1 * np.array([1, -1, 1, -1, 1, -1, 1, -1, 1, -1.5])
    points = [point(t, float(row.mean())) for t, row in zip((0.4, 0.5, 0.6, 0.7), nerl, strict=True)]
    choice = choose_threshold([curve_of("a", points, nerl_of_skeletons=nerl)], by=by)
    assert choice["threshold"] == 0.4
    assert choice["flatness"]["indistinguishable"] == [0.4, 0.5, 0.7]


def test_volumes_are_drawn_apart(curve_of):
    """What four volumes of equal differences say together is surer than what one says, or the same draws four times."""
    nerl = np.full((2, 9), 0.8)
    nerl[1] -= 0.05 * np.array([1, -1, 1, -1, 1, -1, 1, 1, 1])
    points = [point(t, float(row.mean())) for t, row in zip((0.4, 0.5), nerl, strict=True)]
    curves = [curve_of(name, points, nerl_of_skeletons=nerl) for name in "abcdefghijkl"]
    alone, together = (choose_threshold(chosen, by="nerl")["flatness"] for chosen in (curves[:1], curves))
    assert alone["indistinguishable"] == [0.4, 0.5]
    assert together["indistinguishable"] == [0.4]


def test_rounding_decides_nothing(curve_of):
    curve = curve_of("a", [point(0.3, 0.5), point(0.5, 0.7 + 1e-13), point(0.7, 0.7), point(0.8, 0.6)])
    assert choose_threshold([curve], by="nerl")["threshold"] == 0.7


def test_a_single_skeleton_tells_nothing_apart(curve_of):
    curve = curve_of("a", [point(0.4, 0.8), point(0.5, 0.1)], nerl_of_skeletons=np.array([[0.8], [0.1]]))
    assert choose_threshold([curve], by="nerl")["flatness"]["indistinguishable"] is None
