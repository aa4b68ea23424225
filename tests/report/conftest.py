"""A small run on disk as the stages leave it: volumes train, val and test with truth, and one without."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib.affinity import encode_affinities
from pipeline_lib.artefacts import Budget, Run, measured, write_json, write_text
from pipeline_lib.evaluation import choose_threshold, evaluate_volume, sweep_volume
from pipeline_lib.report import ReportContents
from pipeline_lib.segmentation import label_volume, segment_volume
from pipeline_lib.settings import stages
from pipeline_lib.settings.scoring import ChoiceSettings, EvaluationSettings, SegmentationSettings
from pipeline_lib.skeletons import Skeletons, save_skeletons
from pipeline_lib.volumes import Volume, create_array
from pipeline_lib.volumes.affinities import create_affinities

SHAPE = (10, 24, 30)
VOXEL_SIZE_NM = (40.0, 10.0, 10.0)
OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
IDS = {"train": "train-0001", "val": "val-0002", "test": "test-0003", "fresh": "fresh-0004"}
FOLDERS = ("model", "prediction", "sweep", "segmentation", "evaluation")
SPLITS = {"train": "train", "val": "val", "test": "test", "fresh": "test"}


def beams() -> np.ndarray:
    """Six beams along x with background between them, ids 11, 22, .. 66."""
    labels = np.zeros(SHAPE, np.uint32)
    for number in range(6):
        z, y = divmod(number, 3)
        labels[1 + 5 * z : 5 + 5 * z, 1 + 8 * y : 8 + 8 * y] = 11 * (number + 1)
    return labels


def beam_skeletons(labels: np.ndarray) -> Skeletons:
    positions, ids, edges = [], [], []
    for label in np.unique(labels[labels != 0]):
        z, y, _ = np.argwhere(labels == label).mean(axis=0).astype(int)
        nodes = np.array([(z, y, x) for x in range(0, SHAPE[2], 2)])
        first = sum(map(len, positions))
        positions.append((nodes + 0.5) * VOXEL_SIZE_NM)
        ids.append(np.full(len(nodes), label))
        edges.append(first + np.stack([np.arange(len(nodes) - 1), np.arange(1, len(nodes))], axis=1))
    return Skeletons(np.concatenate(positions), np.concatenate(ids), np.concatenate(edges))


def write_volume(root: Path, name: str, *, truth: bool) -> Volume:
    folder = root / "volumes" / IDS[name]
    with measured("import", folder / "record.json"):
        image = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
        create_array(folder / "image.zarr" / "0", SHAPE, "uint8", attributes={})[:] = image
        if truth:
            create_array(folder / "labels.zarr" / "0", SHAPE, "uint32", attributes={})[:] = beams()
            save_skeletons(folder / "skeletons.npz", beam_skeletons(beams()))
        paths = {"labels_path": "labels.zarr/0", "skeletons_path": "skeletons.npz"} if truth else {}
        volume = Volume(folder, name, SHAPE, VOXEL_SIZE_NM, source="made for a test", **paths)
        volume.save()
    return volume


def write_prediction(folder: Path, seed: int) -> None:
    """Affinities of the beams with one weak place, a split at every threshold, and one bridge, a merger at the lower ones."""
    affinities = encode_affinities(beams(), OFFSETS).affinities * 240.0
    affinities[2, 1:5, 1:8, 14 + seed] = 20
    affinities[1, 2, 7:9, 20] = 160
    array = create_affinities(
        folder / "affinities.zarr" / "0", SHAPE, offsets_vox=OFFSETS, voxel_size_nm=VOXEL_SIZE_NM, logit_scale=1.0
    )
    array[:] = affinities.astype(np.uint8)
    write_json(folder / "complete.json", {"content": f"beams {seed}"})


def write_model(folder: Path) -> None:
    rows = ["step,learning_rate,training_loss,validation_loss,seconds"]
    rows += [f"{step},0.001,{1 / step},{1.5 / step if step % 40 == 0 else ''},{step * 0.1:.1f}" for step in range(20, 201, 20)]
    write_text(folder / "metrics.csv", "\n".join(rows) + "\n")
    plan = {"schema": 1, "precision": "bfloat16", "reason": "twice as fast", "float32_ms": 10.5, "parameters": 1234567}
    write_json(folder / "plan.json", {**plan, "hardware": {"device": "cpu"}, "versions": {"torch": "9.8.7"}})
    for step in ("100", "200"):
        with measured("train", folder / "segments" / step / "record.json"):
            pass
    write_json(folder / "best.json", {"checkpoint": "segments/200/checkpoint.ckpt", "step": 200})


def write_run(root: Path) -> dict[str, Any]:
    """Write all artefacts below `root`; returns what the workflow would pass to the report."""
    folders = {name: root / name for name in FOLDERS}
    segmentation, evaluation = SegmentationSettings(), EvaluationSettings()
    sweep = stages.SweepStage(
        segmentation=segmentation, evaluation=evaluation, choice=ChoiceSettings(thresholds=(0.5, 0.7, 0.9))
    )
    volumes = {name: write_volume(root, name, truth=name != "fresh") for name in IDS}
    write_model(folders["model"])
    for seed, name in enumerate(("val", "test", "fresh")):
        write_prediction(folders["prediction"] / IDS[name], seed)
    val = IDS["val"]
    run = Run(Budget(memory_mb=4000))
    with measured("sweep", folders["sweep"] / val / "record.json"):
        sweep_volume(sweep, folders["prediction"] / val, volumes["val"], folders["sweep"] / val, run=run)
    write_json(folders["sweep"] / "choice.json", choose_threshold([folders["sweep"] / val / "curve.json"], by="nerl"))
    for name in ("val", "test", "fresh"):
        vid = IDS[name]
        segments = folders["segmentation"] / vid
        with measured("segment", segments / "record.json"):
            choice, components = folders["sweep"] / "choice.json", segments / "components"
            source = folders["prediction"] / vid
            label_volume(segmentation, source, volumes[name], components, choice=choice, run=run)
            segment_volume(segmentation, source, volumes[name], segments, components=components, run=run)
        if name != "fresh":
            told = stages.EvaluateStage(name=name, split=SPLITS[name], evaluation=evaluation)
            evaluate_volume(told, segments, volumes[name], folders["evaluation"] / vid, run=run)
    return {
        "project": "beams",
        "volumes": {name: {"split": SPLITS[name], "folder": str(volumes[name].folder)} for name in IDS},
        "segments": ["100", "200"],
        "settings": {"project": "beams", "segmentation": {"threshold": None}, "note": "<b> & 'quotes'"},
        **{name: str(folder) for name, folder in folders.items()},
    }


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Not to be changed by a test; `own_run` is."""
    return write_run(tmp_path_factory.mktemp("finished run"))


@pytest.fixture
def own_run(finished_run: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A copy of the test's own, in a folder whose name needs escaping."""
    before, here = Path(finished_run["model"]).parent, tmp_path / 'it\'s "my" <run> & more'
    shutil.copytree(before, here)
    folders = {name: str(here / Path(finished_run[name]).relative_to(before)) for name in FOLDERS}
    volumes = {
        name: {"split": part["split"], "folder": str(here / Path(part["folder"]).relative_to(before))}
        for name, part in finished_run["volumes"].items()
    }
    return {**finished_run, **folders, "volumes": volumes}


@pytest.fixture
def contents(finished_run: dict[str, Any]) -> ReportContents:
    return ReportContents.from_json(json.dumps(finished_run))
