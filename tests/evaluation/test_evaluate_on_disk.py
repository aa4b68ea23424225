"""Scores of a segmentation on disk: block by block as of the whole, its tables, and against another evaluation."""

import csv
import hashlib
import json
import resource
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline_lib.artefacts import Budget, Run, Step, read_json, write_json
from pipeline_lib.cli.app import app
from pipeline_lib.errors import UserError
from pipeline_lib.evaluation import evaluate as evaluate_module
from pipeline_lib.evaluation import evaluate_volume, portions
from pipeline_lib.evaluation.scoring import GroundTruth
from pipeline_lib.evaluation.tables import read_skeletons, skeletons_table
from pipeline_lib.evaluation.verify import Verification
from pipeline_lib.geometry import Box
from pipeline_lib.metrics import SkeletonTable, compare_skeleton_scores, score_labels, score_skeletons
from pipeline_lib.settings.scoring import EvaluationSettings
from pipeline_lib.settings.stages import EvaluateStage, science_json
from pipeline_lib.volumes import create_array, open_array, write_box


def random_segmentation(volume, seed):
    """The true labels, cut at random and with holes; ids beyond 32 bits."""
    rng = np.random.default_rng(seed)
    labels = np.asarray(volume.labels()[:]).astype(np.uint64)
    found = labels * np.uint64(2**33) + np.uint64(1)
    found[:, :, rng.integers(2, 22) :] += np.uint64(7)
    found[rng.random(labels.shape) < 0.2] = 0
    return found


def written(folder, values):
    """The folder of a segmentation with these ids."""
    array = create_array(folder / "segmentation.zarr" / "0", values.shape, "uint64", attributes={})
    write_box(array, Box.of_shape(values.shape), values)
    content = hashlib.sha256(values.tobytes()).hexdigest()
    write_json(folder / "complete.json", {"content": content, "choice": {"threshold": 0.5}, "n_segments": 4})
    return folder


@pytest.fixture
def masked(volume):
    """The volume with a mask and some background among its labels."""
    rng = np.random.default_rng(3)
    mask = create_array(volume.folder / "mask.zarr" / "0", volume.shape_vox, "uint8", attributes={})
    write_box(mask, Box.of_shape(volume.shape_vox), (rng.random(volume.shape_vox) < 0.8).astype(np.uint8))
    labels = create_array(volume.folder / "sparse.zarr" / "0", volume.shape_vox, "uint32", attributes={})
    values = np.asarray(volume.labels()[:]) * (rng.random(volume.shape_vox) < 0.9)
    write_box(labels, Box.of_shape(volume.shape_vox), values.astype(np.uint32))
    return replace(volume, mask_path="mask.zarr/0", labels_path="sparse.zarr/0")


RUN = Run(Budget(memory_mb=2000))


def stage_of(block_vox=(256, 256, 256), **settings):
    """The smallest block that the settings admit is larger than these volumes."""
    evaluation = EvaluationSettings(**settings).model_copy(update={"block_vox": block_vox})
    return EvaluateStage.model_construct(name="val", split="val", evaluation=evaluation)


def evaluated(segmentation, volume, folder, *, against=None, against_run=None, **settings):
    evaluate_volume(stage_of(against=against_run, **settings), segmentation, volume, folder, run=RUN, against=against)
    return read_json(folder / "metrics.json")


def scores_of(volume, segmentation):
    """At the nodes, of an array in memory."""
    truth = GroundTruth(volume, EvaluationSettings())
    return score_skeletons(truth.skeletons, np.asarray(segmentation)[tuple(truth.node_voxels().T)])


@pytest.mark.parametrize("voxels", ["foreground", "all"])
@pytest.mark.parametrize("tolerance_nm", [0, 10, 25])
def test_blocks_on_disk_score_as_the_whole_in_memory(masked, tmp_path, monkeypatch, voxels, tolerance_nm):
    segmentation = random_segmentation(masked, 1)
    expected = score_labels(
        *(np.asarray(masked.labels()[:]), segmentation),
        valid=np.asarray(masked.mask()[:]) > 0,
        voxels=voxels,
        boundary_tolerance_nm=tolerance_nm,
        voxel_size_nm=masked.voxel_size_nm,
    ).to_json()
    assert expected["voi_sum"] > 0
    folder = written(tmp_path / "segmentation" / "val", segmentation)
    options = {"voxels": voxels, "boundary_tolerance_nm": tolerance_nm}
    for i, block_vox in enumerate([(256, 256, 256), (5, 7, 24), (4, 9, 5)]):
        told = evaluated(folder, masked, tmp_path / str(i), block_vox=block_vox, **options)
        assert told["voxels"] == expected


@pytest.mark.parametrize("block_vox", [(256, 256, 256), (5, 7, 10)])
def test_nodes_on_disk_score_as_in_memory(volume, tmp_path, block_vox):
    segmentation = random_segmentation(volume, 2)
    folder = written(tmp_path / "segmentation" / "val", segmentation)
    told = evaluated(folder, volume, tmp_path / "scores", block_vox=block_vox)
    assert told["skeletons"] == scores_of(volume, segmentation).to_json()
    assert told["comparison"] is None


def test_only_blocks_are_in_memory(volume, tmp_path, monkeypatch):
    folder = written(tmp_path / "segmentation" / "val", random_segmentation(volume, 2))
    sizes = []
    tabulate = evaluate_module.tabulate
    monkeypatch.setattr(evaluate_module, "tabulate", lambda *a, **b: sizes.append(a[1].size) or tabulate(*a, **b))
    evaluated(folder, volume, tmp_path / "scores", block_vox=(4, 8, 8))
    assert sizes == [4 * 8 * 8] * (3 * 3 * 3)


@pytest.mark.parametrize("most_cells", [1, 2, 5, 40])
def test_tables_are_joined_for_few_segments_at_a_time(volume, tmp_path, monkeypatch, most_cells):
    rng = np.random.default_rng(3)
    segmentation = rng.integers(0, 2**63, 60, dtype=np.uint64)[rng.integers(0, 60, volume.shape_vox)]
    segmentation[:, :5] = 0
    folder = written(tmp_path / "segmentation" / "val", segmentation)
    expected = score_labels(np.asarray(volume.labels()[:]), segmentation).to_json()
    monkeypatch.setattr(portions, "MOST_CELLS", most_cells)
    assert evaluated(folder, volume, tmp_path / "scores", block_vox=(6, 12, 24))["voxels"] == expected


def test_jobs_share_the_blocks(volume, tmp_path):
    folder = written(tmp_path / "segmentation" / "val", random_segmentation(volume, 2))
    expected = evaluated(folder, volume, tmp_path / "one", block_vox=(4, 8, 8))
    for text in ("plan", "2/3", "0/3", "1/3", "finish/3"):
        run = Run(RUN.budget, Step.parse(text))
        evaluate_volume(stage_of((4, 8, 8)), folder, volume, tmp_path / "jobs", run=run)
    assert read_json(tmp_path / "jobs" / "metrics.json") == expected
    assert (tmp_path / "jobs" / "errors.csv").read_text() == (tmp_path / "one" / "errors.csv").read_text()


@pytest.fixture
def few_files():
    """Only about 40 more files can be open than now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 40, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("most_cells", [10, 2_000_000])
def test_more_blocks_than_files_can_be_open(volume, tmp_path, few_files, monkeypatch, most_cells):
    monkeypatch.setattr(portions, "MOST_CELLS", most_cells)
    segmentation = random_segmentation(volume, 2)
    folder = written(tmp_path / "segmentation" / "val", segmentation)
    told = evaluated(folder, volume, tmp_path / "scores", block_vox=(4, 4, 4))
    assert told["voxels"] == score_labels(np.asarray(volume.labels()[:]), segmentation).to_json()


def test_a_block_that_does_not_fit_is_refused(volume, tmp_path):
    folder = written(tmp_path / "segmentation" / "val", random_segmentation(volume, 2))
    with pytest.raises(
        UserError, match=r"evaluation.block_vox \[256, 256, 256\] takes 350 MB, but the memory budget is 300 MB"
    ):
        evaluate_volume(stage_of(), folder, volume, tmp_path / "scores", run=Run(Budget(memory_mb=300)))


def test_skeletons_that_do_not_fit_are_refused(volume, tmp_path, monkeypatch):
    folder = written(tmp_path / "segmentation" / "val", random_segmentation(volume, 2))
    monkeypatch.setattr(evaluate_module, "_NODE_BYTES", 10**9)
    with pytest.raises(
        UserError, match=r"skeleton nodes takes \d+ MB, but the memory budget is 2000 MB; give the stage more memory"
    ):
        evaluate_volume(stage_of(), folder, volume, tmp_path / "scores", run=RUN)


def test_a_complete_evaluation_needs_no_memory(volume, tmp_path):
    folder = written(tmp_path / "segmentation" / "val", random_segmentation(volume, 2))
    for memory_mb in (2000, 1):
        for step in ("plan", "all"):
            run = Run(Budget(memory_mb), Step.parse(step))
            evaluate_volume(stage_of(), folder, volume, tmp_path / "scores", run=run)


def test_the_memory_of_a_block_counts_its_halo_on_both_sides(volume):
    """A tolerance of 25 nm is a halo of 2, 3 and 3 voxels; labels, mask and distances take 33 bytes a voxel."""

    def need_mb(**settings):
        return GroundTruth(volume, EvaluationSettings(**settings)).need_mb((4, 8, 8))

    assert need_mb(boundary_tolerance_nm=25) == pytest.approx(33 * (4 + 4) * (8 + 6) ** 2 / 1e6)
    assert need_mb() == pytest.approx(20 * 4 * 8 * 8 / 1e6)
    assert need_mb(voxel_metrics=False) == pytest.approx(16 * 4 * 8 * 8 / 1e6)


def test_objects_are_listed_worst_first(volume, tmp_path):
    labels = np.asarray(volume.labels()[:]).astype(np.uint64)
    segmentation = np.where(labels == 2, np.uint64(2**40), labels)
    segmentation[:, :6] = 0  # half of object 1
    segmentation[0, 6:12] = 9
    segmentation[0, 12:18] = 2**40 + 1  # half a section of object 2, in a segment of its own
    segmentation[1, 6:12] = 2**40  # half a section of object 1, in the segment of object 2
    evaluated(written(tmp_path / "segmentation" / "val", segmentation), volume, tmp_path / "scores")
    rows = list(csv.reader((tmp_path / "scores" / "objects.csv").open()))
    size = labels.size // 2
    assert rows == [
        ["object", "size_vox", "completeness", "purity", "n_segments", "best_segment"],
        ["1", str(size), f"{10 / 24:.6f}", "1.0", "3", "1"],
        ["2", str(size), f"{23 / 24:.6f}", f"{23 / 24:.6f}", "2", str(2**40)],
    ]
    evaluated(tmp_path / "segmentation" / "val", volume, tmp_path / "without", voxel_metrics=False)
    assert not (tmp_path / "without" / "objects.csv").exists()


def test_a_segmentation_of_another_shape_is_refused(volume, tmp_path):
    folder = written(tmp_path / "segmentation" / "val", np.ones((12, 24, 25), np.uint64))
    with pytest.raises(UserError, match=r"has shape \(12, 24, 25\), but volume val \(12, 24, 24\); give the segmentation of"):
        evaluated(folder, volume, tmp_path / "scores")


def test_scores_of_skeletons_come_back_from_their_table(volume, tmp_path):
    scores = scores_of(volume, random_segmentation(volume, 4))
    path = tmp_path / "skeletons.csv"
    path.write_text(skeletons_table(scores))
    found = read_skeletons(path, merge_tolerance=0)
    for name, values in asdict(found).items():
        np.testing.assert_allclose(values, getattr(scores, name), atol=1e-3, err_msg=name)
    assert isinstance(found, SkeletonTable)
    assert found.skeleton_voi_split.any()
    path.write_text(path.read_text().replace("n_nodes", "nodes"))
    with pytest.raises(
        UserError, match=r"skeletons.csv is no table of scored skeletons \('n_nodes'\); run that evaluation again"
    ):
        read_skeletons(path, merge_tolerance=0)
    with pytest.raises(UserError, match=r"cannot read .*none.csv: No such file"):
        read_skeletons(tmp_path / "none.csv", merge_tolerance=0)


def test_comparison_with_another_evaluation(volume, tmp_path, capsys):
    labels = np.asarray(volume.labels()[:]).astype(np.uint64)
    good = written(tmp_path / "segmentations" / "good" / "val", labels)
    bad = written(tmp_path / "segmentations" / "bad" / "val", np.where(np.arange(24) < 12, labels, labels + np.uint64(5)))
    evaluated(bad, volume, tmp_path / "bad")
    told = evaluated(good, volume, tmp_path / "good", against=tmp_path / "bad")["comparison"]
    one, other = (scores_of(volume, open_array(path / "segmentation.zarr" / "0")[:]) for path in (good, bad))
    expected = compare_skeleton_scores(one, other).to_json()
    assert told["against"] == "bad"
    assert told["verdict"] == expected["verdict"]
    assert told["verdict"].count("better") == 2
    for name in ("nerl", "voi_sum"):
        assert told[name]["difference"] == pytest.approx(expected[name]["difference"], abs=1e-5)
        assert told[name]["ci95"] == pytest.approx(expected[name]["ci95"], abs=1e-5)
        assert told[name]["share_better"] == 1
    assert f"val against bad: {told['verdict']}\n" in capsys.readouterr().out


def test_the_settings_name_the_run_to_compare_with(volume, tmp_path):
    folder = written(tmp_path / "segmentations" / "one" / "val", np.asarray(volume.labels()[:]).astype(np.uint64))
    evaluated(folder, volume, tmp_path / "first" / "val")
    told = evaluated(folder, volume, tmp_path / "second" / "val")
    assert told["comparison"] is None
    told = evaluated(folder, volume, tmp_path / "third" / "val", against_run=str(tmp_path / "first"))
    assert (told["comparison"]["against"], told["comparison"]["nerl"]["difference"]) == ("one", 0)
    with pytest.raises(
        UserError, match=r"cannot compare with .*elsewhere/val: it holds no metrics\.json; give the folder of one volume"
    ):
        evaluated(folder, volume, tmp_path / "fourth" / "val", against_run=str(tmp_path / "elsewhere"))
    assert not (tmp_path / "fourth" / "val" / "metrics.json").exists()


def test_verification_says_what_it_found(volume, tmp_path, capsys, monkeypatch):
    """With a stand-in for what funlib.evaluate would give; tests/evaluation/test_verify.py tests the comparison itself."""
    folder = written(tmp_path / "segmentations" / "one" / "val", np.asarray(volume.labels()[:]).astype(np.uint64))
    stage = EvaluateStage(name="val", split="val", evaluation=EvaluationSettings(merge_tolerance=5))
    seen = []

    def verdict(agrees):
        def verify(skeletons, nodes, scores):
            seen.append(scores.merge_tolerance)
            return Verification(agrees, (f"agrees: {agrees}",))

        monkeypatch.setattr(evaluate_module, "verify_with_funlib", verify)

    for agrees in (True, None):
        verdict(agrees)
        evaluate_volume(stage, folder, volume, tmp_path / str(agrees), run=RUN, verify=True)
        assert f"agrees: {agrees}" in capsys.readouterr().out
        assert read_json(tmp_path / str(agrees) / "metrics.json")["skeletons"]["merge_tolerance"] == 5
    verdict(False)
    with pytest.raises(UserError, match=r"funlib\.evaluate gives other scores, see above"):
        evaluate_volume(stage, folder, volume, tmp_path / "wrong", run=RUN, verify=True)
    assert not (tmp_path / "wrong" / "metrics.json").exists()
    assert seen == [0, 0, 0]
    voxels = EvaluateStage(name="val", split="val", evaluation=EvaluationSettings(skeleton_metrics=False))
    with pytest.raises(UserError, match="there is nothing to verify: volume val is not scored against skeletons"):
        evaluate_volume(voxels, folder, volume, tmp_path / "voxels", run=RUN, verify=True)


def test_the_command_says_where_funlib_is_not_installed(volume, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "funlib.evaluate", None)
    folder = written(tmp_path / "segmentations" / "one" / "val", np.asarray(volume.labels()[:]).astype(np.uint64))
    stage = EvaluateStage(name="val", split="val", evaluation=EvaluationSettings())
    options = {
        "--segmentation": folder / "complete.json",
        "--volume": volume.folder / "volume.json",
        "--output": tmp_path / "out" / "metrics.json",
        "--settings": science_json(stage),
        "--verify": "funlib",
    }
    result = CliRunner().invoke(app, ["evaluate", *(str(word) for option in options.items() for word in option)])
    assert result.exit_code == 0, result.output
    assert "not verified: funlib.evaluate cannot be imported" in result.output
    assert (tmp_path / "out" / "metrics.json").exists()


def test_the_command_compares(volume, tmp_path):
    folder = written(tmp_path / "segmentations" / "one" / "val", np.asarray(volume.labels()[:]).astype(np.uint64))
    evaluated(folder, volume, tmp_path / "first")
    stage = EvaluateStage(name="val", split="val", evaluation=EvaluationSettings())
    options = {
        "--segmentation": folder / "complete.json",
        "--volume": volume.folder / "volume.json",
        "--output": tmp_path / "second" / "metrics.json",
        "--settings": science_json(stage),
        "--against": tmp_path / "first",
    }
    result = CliRunner().invoke(app, ["evaluate", *(str(word) for option in options.items() for word in option)])
    assert result.exit_code == 0, result.output
    told = read_json(tmp_path / "second" / "metrics.json")["comparison"]
    assert (told["against"], told["nerl"]["share_better"]) == ("one", 0.5)


def test_comparisons_that_say_nothing_are_refused(volume, tmp_path):
    labels = np.asarray(volume.labels()[:]).astype(np.uint64)
    folder = written(tmp_path / "segmentations" / "good" / "val", labels)
    evaluated(folder, volume, tmp_path / "first", merge_tolerance=5)
    evaluated(folder, volume, tmp_path / "voxels only", skeleton_metrics=False)

    def compare(other, **settings):
        return evaluated(folder, volume, tmp_path / "second", against=other, **settings)

    with pytest.raises(UserError, match="merge tolerances 0 and 5"):
        compare(tmp_path / "first")
    with pytest.raises(UserError, match=r"voxels only is not scored against skeletons; see evaluation\.skeleton_metrics"):
        compare(tmp_path / "voxels only")
    with pytest.raises(UserError, match="volume val is not scored against skeletons"):
        compare(tmp_path / "first", skeleton_metrics=False)
    with pytest.raises(
        UserError,
        match=r"cannot compare with .*nothing: it holds no metrics\.json; give the folder of one volume",
    ):
        compare(tmp_path / "nothing")
    told = json.loads((tmp_path / "first" / "metrics.json").read_text())
    write_json(tmp_path / "first" / "metrics.json", {**told, "volume": "other"})
    with pytest.raises(UserError, match=r"cannot compare volume val with .*first, an evaluation of volume other"):
        compare(tmp_path / "first")
    assert not (tmp_path / "second" / "metrics.json").exists()
