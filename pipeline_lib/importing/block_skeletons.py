"""Skeletons made from the labels of a volume, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from math import prod
from pathlib import Path

import kimimaro
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

from pipeline_lib.artefacts import (
    BlockDone,
    Budget,
    Crew,
    Demand,
    Finished,
    Run,
    check_block,
    compute_blocks,
    crew_for,
    run_task,
)
from pipeline_lib.artefacts.npz import read_arrays, write_arrays
from pipeline_lib.geometry import BlockGrid, Box, Triple
from pipeline_lib.geometry.box import as_triple
from pipeline_lib.skeletons import Skeletons, load_skeletons, save_skeletons
from pipeline_lib.volumes import open_array

BLOCK_VOX: Triple = (256, 256, 256)  # about a minute; another size gives other skeletons
SMALLEST_OBJECT_VOX = 1000
_VOXEL_BYTES = 40


def make_skeletons(
    labels: Path,
    folder: Path,
    voxel_size_nm: Sequence[float],
    *,
    labels_content: str,
    budget: Budget,
    block_vox: Triple = BLOCK_VOX,
) -> Skeletons:
    """Centre lines of all labels by TEASAR as in kimimaro with its default parameters; ids are the labels.

    labels: a zarr array (z, y, x), of which `labels_content` is a digest. folder: for the skeletons of the blocks, so that a
    run that was killed goes on. Nodes lie in the middle of their voxel. Connected pieces of up to 1000 voxels get none. Larger
    volumes are taken in blocks that share a plane of voxels: on it both sides place a node at the same voxel, so that skeletons
    join there to whole ones; loops that arise are opened at their longest edges.

    Source: Sato et al. 2000, TEASAR; Silversmith et al. 2021, https://github.com/seung-lab/kimimaro.
    """
    task = BlockSkeletons(labels, folder, voxel_size_nm, labels_content=labels_content, block_vox=block_vox)
    run_task(task, Run(budget))
    return load_skeletons(task.last_file)


def check_makeable(shape_vox: Triple, budget: Budget) -> None:
    """UserError where memory is too small for `make_skeletons`, as that gives it, but before there are labels."""
    check_block(_demand(shape_vox, BLOCK_VOX), budget)


def _demand(shape_vox: Triple, block_vox: Triple) -> Demand:
    """The size of blocks is no setting, as it decides the result."""
    need_mb = _VOXEL_BYTES * prod(min(b, n) + 1 for b, n in zip(block_vox, shape_vox, strict=True)) / 1e6
    return Demand(
        block_vox,
        lambda _: need_mb,
        setting="making skeletons of the labels in blocks of",
        step_vox=block_vox,
        otherwise="give it more memory, or skeletons with the volume",
    )


class BlockSkeletons:
    """A block gives the nodes and edges of the skeletons inside it and its plane after it along each axis."""

    def __init__(
        self,
        labels: Path,
        folder: Path,
        voxel_size_nm: Sequence[float],
        *,
        labels_content: str,
        block_vox: Triple,
    ) -> None:
        self.name = "skeletons"
        self.folder = folder
        self.created: tuple[Path, ...] = ()
        self.last_file = folder / "skeletons.npz"
        self.inputs = {"the code": "1", f"the labels {labels}": labels_content}
        self.layout = {"block_vox": list(block_vox)}
        self._labels = labels
        self._size_nm = tuple(voxel_size_nm)
        self._block_vox = block_vox

    @cached_property
    def grid(self) -> BlockGrid:
        return BlockGrid(as_triple(open_array(self._labels).shape), self._block_vox)

    @property
    def n_blocks(self) -> int:
        return len(self.grid)

    def prepare(self, run: Run) -> Crew:
        """UserError for blocks that do not fit."""
        demand = _demand(self.grid.shape_vox, self._block_vox)
        return crew_for(demand, run.budget, name=self.name, n_blocks=self.n_blocks)

    def create(self) -> None:
        """Nothing is written into."""

    def compute(self, blocks: Sequence[int], crew: Crew) -> Iterator[BlockDone]:
        yield from compute_blocks(self.skeletonise, blocks, crew, name=self.name)

    def skeletonise(self, index: int) -> list[Path]:
        """Write keys (N, 4) int64, the label and the voxel zyx of each node, and edges (M, 2) of one block."""
        start, stop = self.grid[index].write_box.start_vox, self.grid[index].write_box.stop_vox
        shared = as_triple([min(b + 1, n) for b, n in zip(stop, self.grid.shape_vox, strict=True)])
        values = np.asarray(open_array(self._labels)[Box(start, shared).slices])
        found = kimimaro.skeletonize(
            values, anisotropy=self._size_nm, dust_threshold=SMALLEST_OBJECT_VOX, parallel=1, progress=False
        )
        keys, edges, n_nodes = [np.zeros((0, 4), np.int64)], [np.zeros((0, 2), np.int64)], 0
        for label, skeleton in sorted(found.items()):
            voxels = np.rint(skeleton.vertices / np.asarray(self._size_nm, np.float32)).astype(np.int64) + start
            keys.append(np.column_stack([np.full(len(voxels), label, np.int64), voxels]))
            edges.append(np.asarray(skeleton.edges, np.int64).reshape(-1, 2) + n_nodes)
            n_nodes += len(voxels)
        path = self._file(index)
        write_arrays(path, {"keys": np.concatenate(keys), "edges": np.concatenate(edges)})
        return [path]

    def _file(self, index: int) -> Path:
        return self.folder / "blocks" / f"{index}.npz"

    def finish(self, budget: Budget) -> Finished:
        parts = [read_arrays(self._file(index)) for index in range(self.n_blocks)]
        first = np.cumsum([0, *(len(part["keys"]) for part in parts)])
        nodes, index = np.unique(np.concatenate([part["keys"] for part in parts]), axis=0, return_inverse=True)
        edges = np.concatenate([part["edges"] + before for part, before in zip(parts, first, strict=False)])
        positions_nm = (nodes[:, 1:] + 0.5) * np.asarray(self._size_nm, np.float64)
        edges = _without_loops(index.reshape(-1)[edges], positions_nm)
        save_skeletons(self.last_file, Skeletons(positions_nm, nodes[:, 0], edges))
        n_skeletons = len(np.unique(nodes[:, 0]))
        print(f"skeletons: {n_skeletons} whole ones from {self.n_blocks} blocks of labels at full resolution")
        return Finished([self.last_file])


def _without_loops(edges: np.ndarray, positions_nm: np.ndarray) -> np.ndarray:
    """The edges (M, 2) of a spanning forest of least length."""
    pairs = np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], axis=1), axis=0)
    lengths = np.linalg.norm(positions_nm[pairs[:, 0]] - positions_nm[pairs[:, 1]], axis=1)
    forest = minimum_spanning_tree(coo_array((lengths, (pairs[:, 0], pairs[:, 1])), shape=(len(positions_nm),) * 2).tocsr())
    kept = forest.tocoo()
    return np.sort(np.column_stack([kept.row, kept.col]), axis=1).astype(np.int64)
