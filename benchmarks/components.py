"""label_components and sweep_thresholds against cc3d's labelling of the voxel connectivity graph; prints the ratios.

cc3d needs the graph of the edges above one threshold first; building it is measured apart. Both sides: minimum of three rounds,
in turns, after one that does not count. The affinities are those of a file, mirrored to any size, or synthetic ones.

python benchmarks/components.py --affinities results/demo/predictions/<id>/<volume>/affinities.zarr/0
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cc3d
import h5py
import numpy as np
from scipy.ndimage import gaussian_filter

from pipeline_lib.components import label_components, level_of, sweep_thresholds
from pipeline_lib.volumes.affinities import open_affinities

ROUNDS = 3
_POLL_S = 0.005


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


def measure(affinities: np.ndarray, *, threshold: float, lowest: float, threads: list[int], n_points: int) -> dict[str, Any]:
    level = level_of(threshold)
    points = np.random.default_rng(1).integers(0, affinities.shape[1:], (n_points, 3))
    asked = np.linspace(lowest, 0.95, 14)

    def sweep(n: int) -> None:
        found = sweep_thresholds(affinities, lowest=lowest, points_vox=points, threads=n)
        for t in asked:
            found.point_labels_at(t)

    ways: dict[str, Callable[[], Any]] = {"cc3d_graph": lambda: voxel_graph(affinities, level)}
    graph = voxel_graph(affinities, level)
    ways["cc3d_label"] = lambda: cc3d.color_connectivity_graph(graph, connectivity=6)
    for n in threads:
        ways[f"label_{n}_threads"] = lambda n=n: label_components(affinities, threshold, threads=n)
        ways[f"sweep_{n}_threads"] = lambda n=n: sweep(n)
    small = np.ascontiguousarray(affinities[:, :8, :8, :8])
    label_components(small, threshold)  # compile
    sweep_thresholds(small, points_vox=points[:1] * 0).point_labels_at(0.5)
    # In the first round, which does not count, the system finds the memory for both sides.
    rounds = [{name: seconds(way) for name, way in ways.items()} for _ in range(1 + ROUNDS)][1:]
    best = {name: min(taken[name] for taken in rounds) for name in ways}
    peer, peer_label = best["cc3d_graph"] + best["cc3d_label"], best["cc3d_label"]
    label_bytes = 4 * affinities[0].size
    ratios: dict[str, float] = {}
    for n in threads:
        ratios[f"cc3d_with_graph_over_label_{n}_threads"] = peer / best[f"label_{n}_threads"]
        ratios[f"cc3d_label_over_label_{n}_threads"] = peer_label / best[f"label_{n}_threads"]
        ratios[f"sweep_{n}_threads_over_cc3d_with_graph"] = best[f"sweep_{n}_threads"] / peer
    most = max(threads)
    memory = {
        "label_peak_over_labels": memory_above_now(ways[f"label_{most}_threads"]) / label_bytes,
        "sweep_peak_over_labels": memory_above_now(ways[f"sweep_{most}_threads"]) / label_bytes,
    }
    return {"seconds": best, "ratios": ratios, "memory": memory}


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
    options = {"threshold": told.threshold, "lowest": told.lowest, "threads": told.threads, "n_points": told.points}
    text = json.dumps({**facts, **options, **measure(affinities, **options)}, indent=1)
    print(text)
    if told.json:
        told.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
