"""Which skeleton nodes lie in which block, told by a file, so that a process holds those of its block and no others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline_lib.artefacts.atomic import replacing, write_json
from pipeline_lib.artefacts.complete import read_if_there
from pipeline_lib.artefacts.npz import map_array, write_array
from pipeline_lib.artefacts.records import are_intact, facts_of
from pipeline_lib.evaluation.scoring import GroundTruth
from pipeline_lib.geometry import BlockGrid, Triple


class BlockNodes(NamedTuple):
    """The nodes in one block. indices: (n,) int64, rising. voxels: (n, 3) int64 zyx of the volume."""

    indices: np.ndarray
    voxels: np.ndarray


@dataclass(frozen=True)
class NodeTable:
    """All nodes in the order of the blocks of `block_vox` that hold them; nowhere are more than some of them in memory.

    rows.npy: (N, 4) int64, the index of a node and its voxel zyx. starts.npy: (blocks + 1,) int64, the first row of each block.
    table.json, written last: size, time and checksum of both.
    """

    folder: Path
    truth: GroundTruth
    block_vox: Triple

    @cached_property
    def _grid(self) -> BlockGrid:
        return self.truth.grid(self.block_vox)

    @property
    def _rows_file(self) -> Path:
        return self.folder / "rows.npy"

    @property
    def _starts_file(self) -> Path:
        return self.folder / "starts.npy"

    @property
    def _facts_file(self) -> Path:
        return self.folder / "table.json"

    def write(self) -> None:
        """Anew, the same each time; UserError for a node outside the volume."""
        self.truth.check_nodes_inside()
        counts = np.zeros(len(self._grid), np.int64)
        for voxels in self.truth.node_voxels_in_parts():
            counts += np.bincount(self._grid.blocks_at(voxels), minlength=len(counts))
        starts = np.concatenate([[0], np.cumsum(counts)])
        self._write_rows(starts)
        write_array(self._starts_file, starts)
        write_json(self._facts_file, {"files": facts_of(self.folder, [self._rows_file, self._starts_file])})

    def write_unless_intact(self) -> None:
        """For blocks whose table was removed or damaged since they were planned; several jobs may do so at once."""
        files = (read_if_there(self._facts_file) or {}).get("files", {})
        if not (files and are_intact(self.folder, files, trust_time=False)):
            self.write()

    def _write_rows(self, starts: np.ndarray) -> None:
        """Not through a map, whose pages would count as memory of this process."""
        ends, n_before = starts[:-1].copy(), 0  # of what is written of each block
        layout = {"descr": "<i8", "fortran_order": False, "shape": (int(starts[-1]), 4)}
        with replacing(self._rows_file) as aside, aside.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, layout)
            first_byte = file.tell()
            for voxels in self.truth.node_voxels_in_parts():
                blocks = self._grid.blocks_at(voxels)
                order = np.argsort(blocks, kind="stable")
                rows = np.column_stack([n_before + order, voxels[order]]).astype("<i8")
                changes = np.flatnonzero(np.diff(blocks[order], prepend=-1, append=-1))
                for start, stop in pairwise(changes.tolist()):
                    block = blocks[order[start]]
                    file.seek(first_byte + int(ends[block]) * rows.strides[0])
                    file.write(rows[start:stop].data)
                    ends[block] += stop - start
                n_before += len(voxels)

    def in_block(self, index: int) -> BlockNodes:
        """The files are closed again, as more blocks than files can be open."""
        start, stop = map_array(self._starts_file)[index : index + 2]
        rows = np.array(map_array(self._rows_file)[start:stop])
        return BlockNodes(rows[:, 0], rows[:, 1:])
