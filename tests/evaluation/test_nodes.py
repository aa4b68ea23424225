"""Blocks are given the skeleton nodes in them; nothing holds all nodes before finishing."""

import os
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.artefacts import Budget, Run, Step, npz, read_json, write_json
from pipeline_lib.errors import UserError
from pipeline_lib.evaluation import evaluate_volume, scoring, sweep, sweep_volume
from pipeline_lib.evaluation.nodes import BlockNodes, NodeTable
from pipeline_lib.evaluation.scoring import GroundTruth
from pipeline_lib.geometry import Box
from pipeline_lib.settings.scoring import ChoiceSettings, EvaluationSettings, SegmentationSettings
from pipeline_lib.settings.stages import EvaluateStage, SweepStage
from pipeline_lib.skeletons import Skeletons, save_skeletons
from pipeline_lib.volumes import Volume, create_array, write_box

BLOCK_VOX = (5, 8, 24)
RUN = Run(Budget(memory_mb=2000))


def with_nodes(volume, n, seed=0):
    """The volume with so many nodes at random, two of them in each skeleton."""
    voxels = np.random.default_rng(seed).integers(0, volume.shape_vox, (n, 3))
    positions_nm, edges = (voxels + 0.5) * volume.voxel_size_nm, np.arange(n).reshape(-1, 2)
    save_skeletons(volume.folder / "skeletons.npz", Skeletons(positions_nm, np.arange(n) // 2 + 1, edges))
    return replace(volume).save(), voxels


@pytest.fixture
def stages(volume, prediction, tmp_path):
    """Sweep and evaluation of a volume with 300 nodes in 9 blocks: each is a function of a step and a folder."""
    volume, _ = with_nodes(volume, 300)
    segmentation = tmp_path / "segmentation" / "val"
    array = create_array(segmentation / "segmentation.zarr" / "0", volume.shape_vox, "uint64", attributes={})
    write_box(array, Box.of_shape(volume.shape_vox), np.random.default_rng(1).integers(0, 9, volume.shape_vox, np.uint64))
    write_json(segmentation / "complete.json", {"content": "", "choice": {"threshold": 0.5}, "n_segments": 8})
    method = SegmentationSettings().model_copy(update={"block_vox": BLOCK_VOX})
    scores = EvaluationSettings().model_copy(update={"block_vox": BLOCK_VOX})
    choice = ChoiceSettings(thresholds=(0.5, 0.7))
    sweeping = SweepStage.model_construct(segmentation=method, choice=choice, evaluation=scores)
    evaluating = EvaluateStage.model_construct(name="val", split="val", evaluation=scores)

    def run_sweep(step, folder):
        sweep_volume(sweeping, prediction, Volume.open(volume.folder), folder, run=Run(RUN.budget, Step.parse(step)))
        return folder / "curve.json"

    def run_evaluation(step, folder):
        evaluate_volume(evaluating, segmentation, Volume.open(volume.folder), folder, run=Run(RUN.budget, Step.parse(step)))
        return folder / "metrics.json"

    return {"sweep": run_sweep, "evaluate": run_evaluation}


@pytest.mark.parametrize("block_vox", [(256, 256, 256), BLOCK_VOX, (1, 24, 7)])
@pytest.mark.parametrize("n", [0, 2, 300])
def test_a_block_gets_the_nodes_in_it(volume, tmp_path, monkeypatch, block_vox, n):
    monkeypatch.setattr(npz, "_PART_ROWS", 41)
    volume, voxels = with_nodes(volume, n)
    truth = GroundTruth(volume, EvaluationSettings(boundary_tolerance_nm=20))
    table = NodeTable(tmp_path / "nodes", truth, block_vox)
    table.write()
    for block in truth.grid(block_vox):
        box, found = block.write_box, table.in_block(block.index)
        inside = np.flatnonzero(np.all((voxels >= box.start_vox) & (voxels < box.stop_vox), axis=1))
        np.testing.assert_array_equal(found.indices, inside)
        np.testing.assert_array_equal(found.voxels, voxels[inside])
        assert (found.indices.dtype, found.voxels.dtype) == (np.int64, np.int64)
    np.testing.assert_array_equal(truth.node_voxels(), voxels)


def test_without_skeletons_blocks_have_no_nodes(volume, tmp_path):
    table = NodeTable(tmp_path / "nodes", GroundTruth(volume, EvaluationSettings(skeleton_metrics=False)), BLOCK_VOX)
    table.write()
    assert table.in_block(0).voxels.shape == (0, 3)


def test_memory_does_not_grow_with_the_nodes(volume, tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "_PART_ROWS", 5_000)
    peaks_mb = []
    for n in (20_000, 320_000):
        volume, _ = with_nodes(volume, n)
        table = NodeTable(tmp_path / "nodes", GroundTruth(volume, EvaluationSettings()), (1, 1, 24))
        tracemalloc.start()
        table.write()
        table.in_block(7)
        peaks_mb.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
    one_copy_mb = 300_000 * 24 / 1e6
    assert peaks_mb[1] - peaks_mb[0] < 0.1 * one_copy_mb


@pytest.mark.parametrize("name", ["sweep", "evaluate"])
def test_skeletons_are_read_for_finishing_only(stages, tmp_path, monkeypatch, name):
    read, given = [], []
    load, in_block, reduce_block = scoring.load_skeletons, NodeTable.in_block, sweep.reduce_block
    monkeypatch.setattr(scoring, "load_skeletons", lambda path: read.append(path) or load(path))
    monkeypatch.setattr(NodeTable, "in_block", lambda self, i: given.append(in_block(self, i)) or given[-1])
    points = []
    monkeypatch.setattr(sweep, "reduce_block", lambda *a, **b: points.append(len(b["points_vox"])) or reduce_block(*a, **b))
    for step in ("plan", "0/2", "1/2"):
        stages[name](step, tmp_path / "out")
    assert read == []
    assert sorted(np.concatenate([nodes.indices for nodes in given])) == list(range(300))
    assert max(len(nodes.indices) for nodes in given) < 100
    assert points == ([len(nodes.indices) for nodes in given] if name == "sweep" else [])
    stages[name]("finish/2", tmp_path / "out")
    assert len(read) == 1


@pytest.mark.parametrize("name", ["sweep", "evaluate"])
def test_blocks_planned_without_a_table_go_on(stages, tmp_path, name):
    expected = read_json(stages[name]("all", tmp_path / "one"))
    for step in ("plan", "0/2"):
        stages[name](step, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "nodes")
    for step in ("1/2", "finish/2"):
        last_file = stages[name](step, tmp_path / "out")
    assert read_json(last_file) == expected


def cut_off(path):
    os.truncate(path, path.stat().st_size // 2)


def change_unseen(path):
    """The last bytes, in a file of the same size and time."""
    found, content = path.stat(), bytearray(path.read_bytes())
    content[-32] ^= 3
    path.write_bytes(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


DAMAGES = {
    "rows cut off": ("rows.npy", cut_off),
    "starts cut off": ("starts.npy", cut_off),
    "rows of other nodes": ("rows.npy", change_unseen),
    "facts cut off": ("table.json", cut_off),
    "facts removed": ("table.json", Path.unlink),
}


@pytest.mark.parametrize("name", ["sweep", "evaluate"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_table_is_written_anew(stages, tmp_path, name, damage):
    expected = read_json(stages[name]("all", tmp_path / "one"))
    for step in ("plan", "0/2"):
        stages[name](step, tmp_path / "out")
    nodes = tmp_path / "out" / "nodes"
    before = {path.name: path.read_bytes() for path in nodes.glob("*.npy")}
    file, harm = damage
    harm(nodes / file)
    for step in ("1/2", "finish/2"):
        last_file = stages[name](step, tmp_path / "out")
    assert read_json(last_file) == expected
    assert {path.name: path.read_bytes() for path in nodes.glob("*.npy")} == before


@pytest.mark.parametrize("name", ["sweep", "evaluate"])
def test_an_intact_table_is_left_alone(stages, tmp_path, monkeypatch, name):
    stages[name]("plan", tmp_path / "out")
    monkeypatch.setattr(NodeTable, "write", lambda self: pytest.fail("written anew"))
    stages[name]("0/1", tmp_path / "out")


STRANGE = {
    "left out": lambda nodes: BlockNodes(nodes.indices[1:], nodes.voxels[1:]),
    "twice": lambda nodes: BlockNodes(np.append(nodes.indices, nodes.indices[0]), nodes.voxels[[*range(len(nodes.voxels)), 0]]),
    "unknown": lambda nodes: BlockNodes(np.append(nodes.indices, 300), nodes.voxels[[*range(len(nodes.voxels)), 0]]),
}


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
def test_a_node_that_is_not_in_one_block_is_not_scored(stages, tmp_path, monkeypatch, strange):
    in_block = NodeTable.in_block
    monkeypatch.setattr(NodeTable, "in_block", lambda self, i: strange(in_block(self, i)) if i == 4 else in_block(self, i))
    message = r"evaluate val: 1 of 300 skeleton nodes are not in exactly one block of .*out/blocks; remove .*out and run again"
    with pytest.raises(UserError, match=message):
        stages["evaluate"]("all", tmp_path / "out")
    assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.parametrize("name", ["sweep", "evaluate"])
def test_other_skeletons_are_planned_anew(stages, volume, tmp_path, name):
    for step in ("plan", "0/2"):
        stages[name](step, tmp_path / "out")
    with_nodes(volume, 200, seed=1)
    found = read_json(stages[name]("all", tmp_path / "out"))
    assert found == read_json(stages[name]("all", tmp_path / "fresh"))
