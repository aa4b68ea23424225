"""Small sweeps on disk: the files that the comparison reads, with made-up scores that agree with one another."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.artefacts import write_json, write_text
from pipeline_lib.metrics import SkeletonTable, bootstrap_intervals
from pipeline_lib.report import ComparedRun, ReportContents
from pipeline_lib.report.contents import VolumePart
from pipeline_lib.skeletons import Skeletons, save_skeletons
from pipeline_lib.volumes import Volume, create_array

SHAPE = (10, 24, 30)
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
RECORD = {"started": "2026-01-02T03:04:05", "peak_memory_mb": 100.0, "host": "here", "processor": "fast", "python": "3.11"}


@dataclass(frozen=True)
class FakeVolume:
    """truth: "skeletons", "voxels", "both", or "" for none."""

    name: str
    split: str
    n_skeletons: int = 40
    truth: str = "both"


VOLUMES = (FakeVolume("cube2", "val"), FakeVolume("cube3", "test"))


@dataclass(frozen=True)
class FakeRun:
    """quality: about the share of its length that a skeleton keeps. fold: names of the val volumes, where they are not all."""

    changed: Mapping[str, Any]
    quality: float
    seed: int = 0
    repeats: str | None = None
    model: str = "model-1"
    more: Mapping[str, Any] = field(default_factory=dict)


def skeletons_of(volume: FakeVolume, quality: float, seed: int, *, merge_tolerance: float = 0) -> SkeletonTable:
    """Lengths follow from the volume, errors from volume, quality and seed; half of their noise is that of the skeletons."""
    n = volume.n_skeletons
    fixed = np.random.default_rng([len(volume.name), *volume.name.encode()])
    length_nm, hardness = fixed.gamma(2.0, 6000, n) + 500, fixed.normal(0, 0.12, n)
    own = np.random.default_rng([seed, round(quality * 1e6), n])
    kept = np.clip(quality + hardness + own.normal(0, 0.06, n) + own.normal(0, 0.006), 0, 1)
    kept[hardness + own.normal(0, 0.02, n) < 0.6 - quality] = 0  # merged
    n_nodes = (length_nm // 100).astype(np.int64) + 1
    split, merge = 2.2 * (1 - kept), np.where(kept == 0, 1.5, 0.0) + 0.15 * (1 - quality)
    return SkeletonTable(merge_tolerance, np.arange(1, n + 1), length_nm, kept * length_nm, length_nm, n_nodes, split, merge)


def skeleton_scores(table: SkeletonTable) -> dict[str, Any]:
    """As under "skeletons" in metrics.json."""
    length_nm, n_nodes = table.skeleton_length_nm, table.skeleton_n_nodes
    nerl = float((length_nm * table.skeleton_erl_nm).sum() / (length_nm * table.skeleton_max_erl_nm).sum())
    split, merge = (
        float((n_nodes * part).sum() / n_nodes.sum()) for part in (table.skeleton_voi_split, table.skeleton_voi_merge)
    )
    ends = {name: list(found) if found else None for name, found in vars(bootstrap_intervals(table)).items()}
    n_merged = int((table.skeleton_erl_nm == 0).sum())
    return {
        "nerl": nerl,
        "merge_tolerance": "inf" if np.isinf(table.merge_tolerance) else table.merge_tolerance,
        "nerl_by_tolerance": {"0": nerl, "50": min(1.0, nerl + 0.05), "inf": min(1.0, nerl + 0.1)},
        "voi_split": split,
        "voi_merge": merge,
        "voi_sum": split + merge,
        "n_splits": int((10 * table.skeleton_voi_split).sum()),
        "n_mergers": n_merged + 1,
        "n_non0_mergers": n_merged,
        "n_skeletons": len(length_nm),
        "n_nodes": int(n_nodes.sum()),
        **{f"{name}_ci95": found for name, found in ends.items()},
    }


def voxel_scores(quality: float, seed: int) -> dict[str, Any]:
    noise = float(np.random.default_rng([seed, round(quality * 1e6)]).normal(0, 0.01))
    split, merge = 1.4 * (1 - quality) + noise, 0.6 * (1 - quality)
    rand = {"adapted_rand_error": 0.4 * (1 - quality), "precision": quality, "recall": quality}
    return {"voi_split": split, "voi_merge": merge, "voi_sum": split + merge, **rand, "n_voxels": 1000, "voxels": "foreground"}


def write_fake_run(root: Path, number: int, run: FakeRun, volumes: Sequence[FakeVolume] = VOLUMES) -> ReportContents:
    """The files of one run, in folders of its own but for the volumes and the model, which runs can share."""
    parts = []
    own = {name: root / f"{name}s" / f"{name}-{number:04d}" for name in ("prediction", "sweep", "segmentation", "evaluation")}
    for volume in volumes:
        folder = root / "volumes" / f"{volume.name}-{volume.truth or 'none'}"
        if not folder.exists():
            _write_volume(folder, volume)
        parts.append(VolumePart(volume.name, volume.split, folder))
        _write_scores(own, run, volume, folder.name)
    best_at = THRESHOLDS[2 + number % 3]
    told = {"threshold": best_at, "by": "nerl", "volumes": [v.name for v in volumes if v.split == "val"], "warning": None}
    write_json(own["sweep"] / "choice.json", {"schema": 2, **told, "value": run.quality, "best_by": {}, **run.more})
    write_json(
        root / "models" / run.model / "segments" / "100" / "record.json", {**RECORD, "wall_s": 600.0, "stage": run.model}
    )
    return ReportContents(
        project="fake",
        volumes=tuple(parts),
        model=root / "models" / run.model,
        segments=("100",),
        settings=with_changes(BASE, run.changed),
        **own,
    )


def _write_volume(folder: Path, volume: FakeVolume) -> None:
    paths = {}
    create_array(folder / "image.zarr" / "0", SHAPE, "uint8", attributes={})
    if volume.truth in ("voxels", "both"):
        create_array(folder / "labels.zarr" / "0", SHAPE, "uint32", attributes={})
        paths["labels_path"] = "labels.zarr/0"
    if volume.truth in ("skeletons", "both"):
        save_skeletons(folder / "skeletons.npz", Skeletons(np.zeros((2, 3)), np.ones(2, int), np.array([[0, 1]])))
        paths["skeletons_path"] = "skeletons.npz"
    Volume(folder, volume.name, SHAPE, (40.0, 10.0, 10.0), source="made up", **paths).save()


def _write_scores(own: Mapping[str, Path], run: FakeRun, volume: FakeVolume, volume_id: str) -> None:
    write_json(own["segmentation"] / volume_id / "complete.json", {"content": "made up", "n_segments": 100 + run.seed})
    for name in ("prediction", "segmentation"):
        record = {**RECORD, "wall_s": 60.0, "of": f"{own[name].name} {volume_id}"}
        write_json(own[name] / volume_id / "record.json", record)
    if not volume.truth:
        return
    folder, told = own["evaluation"] / volume_id, {"skeletons": None, "voxels": None}
    if volume.truth in ("skeletons", "both"):
        table = skeletons_of(volume, run.quality, run.seed, merge_tolerance=run.more.get("merge_tolerance", 0))
        told["skeletons"] = skeleton_scores(table)
        write_text(folder / "skeletons.csv", skeletons_csv(table))
    if volume.truth in ("voxels", "both"):
        told["voxels"] = voxel_scores(run.quality, run.seed)
    write_json(folder / "metrics.json", {"schema": 1, "volume": volume.name, "split": volume.split, "comparison": None, **told})
    if volume.split == "val":
        write_json(own["sweep"] / volume_id / "curve.json", curve_of(run, volume))


def skeletons_csv(table: SkeletonTable) -> str:
    names = ("ids", "length_nm", "erl_nm", "max_erl_nm", "n_nodes", "voi_split", "voi_merge")
    columns = [getattr(table, f"skeleton_{name}").tolist() for name in names]
    rows = [",".join(map(repr, row)) for row in zip(*columns, strict=True)]
    return "\n".join(["skeleton,length_nm,erl_nm,max_erl_nm,n_nodes,voi_split,voi_merge", *rows]) + "\n"


def curve_of(run: FakeRun, volume: FakeVolume) -> dict[str, Any]:
    """Best at one threshold, worse on either side of it."""
    has = {kind: volume.truth in (kind, "both") for kind in ("skeletons", "voxels")}
    points = []
    for threshold in THRESHOLDS:
        off = (threshold - 0.6 - 0.2 * (run.quality - 0.85)) ** 2
        n_mergers = int(np.exp(6 * (0.9 - threshold)) * (1.2 - run.quality))
        skeletons = {"nerl": max(0.0, run.quality - 2.5 * off), "merge_tolerance": 0, "n_non0_mergers": n_mergers}
        scores = {"voi_split": 0.8 * threshold * (1.3 - run.quality), "voi_merge": 1.2 * (1 - threshold) ** 2 + run.seed * 0.01}
        found = {"skeletons": skeletons | scores if has["skeletons"] else None, "voxels": scores if has["voxels"] else None}
        points.append({"threshold": threshold, "n_segments": 100, **found})
    return {"schema": 2, "volume": volume.name, "points": points, "levels": None}


BASE: dict[str, Any] = {
    "project": "fake",
    "seed": 0,
    "training": {"learning_rate": 0.001, "steps": 20000},
    "segmentation": {"min_size_vox": 100, "threshold": None},
    "volumes": {"cube2": {"split": "val"}},
}


def with_changes(settings: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    copy = json.loads(json.dumps(settings))
    for path, value in changed.items():
        *folders, last = path.split(".")
        place = copy
        for key in folders:
            place = place.setdefault(key, {})
        place[last] = value
    return copy


def named(changed: Mapping[str, Any], *, without: Iterable[str] = ()) -> str:
    return " ".join(f"{path.rpartition('.')[2]}={value}" for path, value in changed.items() if path not in without)


def write_sweep(root: Path, runs: Sequence[FakeRun], volumes: Sequence[FakeVolume] = VOLUMES) -> list[ComparedRun]:
    found = []
    for number, run in enumerate(runs):
        contents = write_fake_run(root, number, run, volumes)
        name = named(run.changed) or "base"
        repeats = named(run.changed, without=("seed",)) if run.repeats is None else run.repeats
        found.append(ComparedRun(name, dict(run.changed), repeats, f"../runs/{number}/index.html", contents))
    return found


def grid(rates: Sequence[float], sizes: Sequence[int], seeds: Sequence[int]) -> list[FakeRun]:
    """Learning rates times smallest segments times seeds; best at 0.001 and 300."""
    runs = []
    for rate, size, seed in itertools.product(rates, sizes, seeds):
        quality = 0.88 - 0.05 * abs(np.log10(rate / 0.001)) - 0.012 * abs(np.log10(size / 300))
        changed = {"training.learning_rate": rate, "segmentation.min_size_vox": size, "seed": seed}
        runs.append(FakeRun(changed, float(quality), seed=seed, model=f"model-{rate}-{seed}"))
    return runs
