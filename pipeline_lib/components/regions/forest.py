"""What the rest of a volume, and the points in it, need to know of one region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline_lib.components.merge_tree import MergeTree
from pipeline_lib.geometry import Box, Triple


class Terminals(NamedTuple):
    """The voxels of a region that something outside of it may ask for: those that it shares with other regions, and the points.

    voxels: (T,) int64 flat indices in the whole volume, rising. clusters: (T,) unsigned, 0 = none. strongest: (T,) uint8, below
    which level a voxel is in the segment of its cluster; 0 = at none. is_point: (T,) bool. A shared voxel that has no edge in
    this region is left out.
    """

    voxels: np.ndarray
    clusters: np.ndarray
    strongest: np.ndarray
    is_point: np.ndarray


class Gains(NamedTuple):
    """How many voxels, (G,) int64, come to a cluster, (G,), below which level, (G,) uint8."""

    clusters: np.ndarray
    levels: np.ndarray
    n_vox: np.ndarray


@dataclass(frozen=True)
class RegionForest:
    """The segments of a region at every level, as far as others can join or ask for them; the rest is only counted.

    Which voxels the region of a box holds and shares is told in regions/shared.py. A shared voxel is counted among the gains as
    soon as all the regions that hold it are joined.

    box: the box. shape_vox: of the whole volume. lowest_level, min_size_vox: as the sweep and its sizes take them.
    tree: how the C clusters merge, 0 = none; each holds terminals. gains: their voxels but for those that are still shared.
    n_closed: (256,) segments without a terminal, of at least max(2, min_size_vox) voxels, at each level. histogram: (256, 64)
    all segments without a terminal by size, as in SizeHistory.
    """

    box: Box
    shape_vox: Triple
    lowest_level: int
    min_size_vox: int
    terminals: Terminals
    tree: MergeTree
    gains: Gains
    n_closed: np.ndarray
    histogram: np.ndarray

    @property
    def n_bytes(self) -> int:
        """Of all its arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as plain arrays, as from_arrays takes them."""
        return {
            "box_vox": np.array([self.box.start_vox, self.box.stop_vox]),
            "shape_vox": np.array(self.shape_vox),
            "lowest_level": np.array(self.lowest_level),
            "min_size_vox": np.array(self.min_size_vox),
            **{f"terminal_{name}": column for name, column in self.terminals._asdict().items()},
            **{f"tree_{name}": column for name, column in self.tree._asdict().items()},
            **{f"gain_{name}": column for name, column in self.gains._asdict().items()},
            "n_closed": self.n_closed,
            "histogram": self.histogram,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> RegionForest:
        """Raises ValueError unless these are the arrays of a RegionForest, by their names."""
        columns: dict[str, type] = {"terminal": Terminals, "tree": MergeTree, "gain": Gains}
        names = [f"{part}_{name}" for part, kind in columns.items() for name in kind._fields]  # type: ignore[attr-defined]
        names += ["box_vox", "shape_vox", "lowest_level", "min_size_vox", "n_closed", "histogram"]
        if set(arrays) != set(names):
            missing, unknown = sorted(set(names) - set(arrays)), sorted(set(arrays) - set(names))
            raise ValueError(f"these are not the arrays of a region's forest: missing {missing}, unknown {unknown}")
        start_vox, stop_vox = arrays["box_vox"]
        z, y, x = arrays["shape_vox"]
        return cls(
            Box(start_vox, stop_vox),
            (int(z), int(y), int(x)),
            int(arrays["lowest_level"]),
            int(arrays["min_size_vox"]),
            Terminals(*(arrays[f"terminal_{name}"] for name in Terminals._fields)),
            MergeTree(*(arrays[f"tree_{name}"] for name in MergeTree._fields)),
            Gains(*(arrays[f"gain_{name}"] for name in Gains._fields)),
            arrays["n_closed"],
            arrays["histogram"],
        )
