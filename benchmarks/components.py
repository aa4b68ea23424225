"""label_components and sweep_thresholds against cc3d's labelling of the voxel connectivity graph; prints the ratios.

cc3d needs the graph of the edges above one threshold first; building it is measured apart. Both sides: minimum of three rounds,
in turns, after one that does not count; both must find the same components. The affinities are those of a file, mirrored to any
size, or synthetic ones.

Also: the scores of skeletons at every level, updated per merge, against scoring each level by itself. The skeletons are
random walks through the volume, 100 nodes each.

python benchmarks/components.py --affinities results/demo/predictions/<id>/<volume>/affinities.zarr/0
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cc3d
import h5py
import numpy as np
from scipy.ndimage import gaussian_filter

from pipeline_lib.components import ThresholdSweep, label_components, level_of, sweep_thresholds
from pipeline_lib.metrics import score_skeletons, score_thresholds
from pipeline_lib.metrics.contingency import tabulate
from pipeline_lib.skeletons import Skeletons
from pipeline_lib.volumes.affinities import open_affinities

ROUNDS = 3
WALK_NODES, WALK_STEP_VOX = 100, 4
_POLL_S = 0.005
_FOUND_BYTES = 12  # of memory for each voxel: what the most demanding call takes

Peer = Callable[[np.ndarray, int], tuple[np.ndarray, float, float]]


def tiled(affinities: np.ndarray, size_vox: int) -> np.ndarray:
    """A cube of any size by mirroring a smaller volume: (3, n, n, n) with realistic values."""
    for axis in (1, 2, 3):
        n_tiles = -(-size_vox // affinities.shape[axis])
        tiles = [affinities if i % 2 == 0 else np.flip(affinities, axis) for i in range(n_tiles)]
        affinities = np.concatenate(tiles, axis=axis).take(range(size_vox), axis=axis)
    return np.ascontiguousarray(affinities)


def read_affinities(path: Path) -> np.ndarray:
    """(3, z, y, x) uint8."""
    if path.is_dir():
        return np.asarray(open_affinities(path).array[:3])
    with h5py.File(path) as file:
        return np.asarray(file["affinities"][:3])


def synthetic(size_vox: int, *, saturated: bool) -> np.ndarray:
    """Affinities of blobs with noise; without `saturated` no value reaches 255, as with scaled logits."""
    rng = np.random.default_rng(0)
    small = np.stack([gaussian_filter(rng.normal(size=(64, 128, 128)), 2.5) for _ in range(3)])
    logits = 6 * small / small.std() + rng.normal(scale=1.5, size=small.shape) + 4
    values = 255 / (1 + np.exp(-logits * (1 if saturated else 0.2)))
    return tiled(np.rint(values).astype(np.uint8), size_vox)


def voxel_graph(affinities: np.ndarray, level: int) -> np.ndarray:
    """One byte for each voxel, a bit for each of its six neighbours, as cc3d wants it for a Fortran-ordered array."""
    edges = affinities > level
    graph = np.zeros(affinities.shape[1:], np.uint8)
    for axis in range(3):
        here = (slice(None),) * axis + (slice(None, -1),)
        there = (slice(None),) * axis + (slice(1, None),)
        graph[here] |= edges[axis][here] * np.uint8(1 << 2 * axis)
        graph[there] |= edges[axis][here] * np.uint8(2 << 2 * axis)
    return np.asfortranarray(graph)


def label_by_cc3d(affinities: np.ndarray, level: int) -> tuple[np.ndarray, float, float]:
    """Components of the edges above a level, voxels without any edge among them; seconds to build the graph and to label it."""
    start = time.perf_counter()
    graph = voxel_graph(affinities, level)
    built = time.perf_counter()
    labels = cc3d.color_connectivity_graph(graph, connectivity=6)
    return labels, built - start, time.perf_counter() - built


def load_peer(path: Path | None) -> Peer:
    """`label` of another file, or the one above."""
    if path is None:
        return label_by_cc3d
    spec = importlib.util.spec_from_file_location("peer", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.label


def check_agreement(labels: np.ndarray, of_peer: np.ndarray) -> None:
    """The same partition, in which the peer gives ids to voxels without an edge, too."""
    table = tabulate(of_peer, labels, where=labels > 0)
    n_alone, n_segments = np.count_nonzero(labels == 0), int(labels.max())
    same = len(table.counts) == len(table.truth_ids) == len(table.predicted_ids) == n_segments
    if not same or int(of_peer.max()) != n_segments + n_alone:
        raise SystemExit("label_components and the peer find other components")


def find_memory(n_bytes: int) -> None:
    """Let the system find memory now, not while a call is timed: it may have to get it back from other virtual machines."""
    np.empty(n_bytes, np.uint8)[:: os.sysconf("SC_PAGE_SIZE")] = 0


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def memory_above_now(work: Callable[[], Any]) -> int:
    """Bytes of resident memory that `work` takes at its peak beyond what the process holds before."""
    page = os.sysconf("SC_PAGE_SIZE")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    before, peak, done = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(_POLL_S):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    kept = work()
    done.set()
    watcher.join()
    del kept
    return peak - before


class Asked(NamedTuple):
    """threshold: of the labelling. lowest: threshold of the sweep. n_points: whose segments are asked at 14 thresholds."""

    threshold: float
    lowest: float
    threads: list[int]
    n_points: int


def measure(affinities: np.ndarray, asked: Asked, peer: Peer) -> dict[str, Any]:
    level, n_voxels = level_of(asked.threshold), affinities[0].size
    points = np.random.default_rng(1).integers(0, affinities.shape[1:], (asked.n_points, 3))

    def sweep(n: int) -> None:
        found = sweep_thresholds(affinities, lowest=asked.lowest, points_vox=points, threads=n)
        for t in np.linspace(asked.lowest, 0.95, 14):
            found.point_labels_at(t)

    ways: dict[str, Callable[[], Any]] = {}
    for n in asked.threads:
        ways[f"label_{n}_threads"] = lambda n=n: label_components(affinities, asked.threshold, threads=n)
        ways[f"sweep_{n}_threads"] = lambda n=n: sweep(n)
    small = np.ascontiguousarray(affinities[:, :8, :8, :8])
    label_components(small, asked.threshold)  # compile
    sweep_thresholds(small, points_vox=points[:1] * 0).point_labels_at(0.5)
    check_agreement(label_components(affinities, asked.threshold), peer(affinities, level)[0])
    rounds = []
    for _ in range(1 + ROUNDS):
        find_memory(_FOUND_BYTES * n_voxels)
        graph_s, label_s = peer(affinities, level)[1:]
        rounds.append({"cc3d_graph": graph_s, "cc3d_label": label_s})
        for name, way in ways.items():
            find_memory(_FOUND_BYTES * n_voxels)
            rounds[-1][name] = seconds(way)
    best = {name: min(taken[name] for taken in rounds[1:]) for name in rounds[0]}
    peer_s, peer_label_s = best["cc3d_graph"] + best["cc3d_label"], best["cc3d_label"]
    ratios: dict[str, float] = {}
    for n in asked.threads:
        ratios[f"cc3d_with_graph_over_label_{n}_threads"] = peer_s / best[f"label_{n}_threads"]
        ratios[f"cc3d_label_over_label_{n}_threads"] = peer_label_s / best[f"label_{n}_threads"]
        ratios[f"sweep_{n}_threads_over_cc3d_with_graph"] = best[f"sweep_{n}_threads"] / peer_s
    most, label_bytes = max(asked.threads), 4 * n_voxels
    memory = {
        "label_peak_over_labels": memory_above_now(ways[f"label_{most}_threads"]) / label_bytes,
        "sweep_peak_over_labels": memory_above_now(ways[f"sweep_{most}_threads"]) / label_bytes,
    }
    return {"seconds": best, "ratios": ratios, "memory": memory}


def random_walks(shape_vox: tuple[int, ...], n_nodes: int) -> tuple[Skeletons, np.ndarray]:
    """Skeletons, and the voxel of each node; a walk turns back where the volume ends."""
    rng = np.random.default_rng(2)
    n_walks = max(1, n_nodes // WALK_NODES)
    steps = rng.integers(-WALK_STEP_VOX, WALK_STEP_VOX + 1, (n_walks, WALK_NODES, 3))
    steps[:, 0] = rng.integers(0, shape_vox, (n_walks, 3))
    last = np.array(shape_vox) - 1
    voxels = (last - np.abs(np.cumsum(steps, axis=1) % np.maximum(2 * last, 1) - last)).reshape(-1, 3)
    nodes = np.arange(len(voxels)).reshape(n_walks, WALK_NODES)
    edges = np.stack([nodes[:, :-1], nodes[:, 1:]], axis=-1).reshape(-1, 2)
    return Skeletons((voxels + 0.5) * 10.0, np.repeat(np.arange(1, n_walks + 1), WALK_NODES), edges), voxels


def measure_curve(affinities: np.ndarray, asked: Asked) -> dict[str, Any]:
    """Both sides from a finished sweep; minimum of three rounds."""
    skeletons, voxels = random_walks(affinities.shape[1:], asked.n_points)
    found = sweep_thresholds(affinities, lowest=asked.lowest, points_vox=voxels)

    def per_merge(sweep: ThresholdSweep) -> np.ndarray:
        return score_thresholds(skeletons, sweep.point_history(), lowest_level=level_of(asked.lowest)).nerl

    def one_by_one(sweep: ThresholdSweep) -> np.ndarray:
        return np.array([score_skeletons(skeletons, sweep.point_labels_at(t)).nerl for t in sweep.thresholds])

    if not np.allclose(per_merge(found), one_by_one(found), rtol=1e-9):  # compiles, too
        raise SystemExit("the curve and the scores of single levels disagree")
    best = {
        name: min(seconds(lambda way=way: way(found)) for _ in range(ROUNDS))
        for name, way in (("curve", per_merge), ("levels_one_by_one", one_by_one))
    }
    return {"seconds": best, "ratios": {"levels_one_by_one_over_curve": best["levels_one_by_one"] / best["curve"]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--affinities",
        type=Path,
        help="a prediction's affinities.zarr/0, or an HDF5 file with uint8 `affinities` (c, z, y, x); default: synthetic",
    )
    parser.add_argument("--unsaturated", action="store_true", help="synthetic affinities that never reach 255")
    parser.add_argument("--size", type=int, default=512, help="edge of the cube in voxels (default: %(default)s)")
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--lowest", type=float, default=0.25, help="lowest threshold of the sweep (default: %(default)s)")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--peer", type=Path, help="file with label() to measure instead of the own way to call cc3d")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    told = parser.parse_args()
    if told.affinities:
        affinities = tiled(read_affinities(told.affinities), told.size)
    else:
        affinities = synthetic(told.size, saturated=not told.unsaturated)
    facts = {
        "affinities": told.affinities.name if told.affinities else "unsaturated" if told.unsaturated else "synthetic",
        "size_vox": told.size,
        "edges_above_threshold": float(np.mean(affinities > level_of(told.threshold))),
        "edges_at_255": float(np.mean(affinities == 255)),
    }
    asked = Asked(told.threshold, told.lowest, told.threads, told.points)
    facts |= {"peer": told.peer.name if told.peer else "own call of cc3d", **asked._asdict()}
    figures = measure(affinities, asked, load_peer(told.peer))
    curve = measure_curve(affinities, asked)
    for kind, found in curve.items():
        figures[kind] |= found
    text = json.dumps({**facts, **figures}, indent=1)
    print(text)
    if told.json:
        told.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
