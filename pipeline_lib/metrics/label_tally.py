"""What label scores are computed from, in a form that is added up over parts of a volume.

A part may be tallied as soon as it holds whole segments: all voxels of each. Objects may lie in several parts. What segments
add is then a few numbers and how many of them have which size; only objects keep an entry each. All of it is integers, so the
sum is the same in whatever order the parts are taken, and entropies are computed once, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline_lib.metrics.contingency import Contingency

_MOST_PENDING = 1 << 20  # entries of tallies to be added at once


@dataclass(frozen=True)
class Sizes:
    """How many sets, `n` (U,) int64, have each of the sizes, `size` (U,) int64, which rise."""

    size: np.ndarray
    n: np.ndarray

    @classmethod
    def of(cls, sizes: np.ndarray, n: np.ndarray | None = None) -> Sizes:
        """From sizes in any order, each of which stands for n sets, by default one."""
        size, place = np.unique(sizes, return_inverse=True)
        total = np.zeros(len(size), np.int64)
        np.add.at(total, place, 1 if n is None else n)
        return cls(size.astype(np.int64), total)

    @classmethod
    def added(cls, parts: Sequence[Sizes]) -> Sizes:
        return cls.of(np.concatenate([part.size for part in parts]), np.concatenate([part.n for part in parts]))

    def bits(self) -> float:
        """Sum of size * log2(size) over all sets."""
        return float(np.sum(self.n * self.size * np.log2(np.maximum(self.size, 1))))

    def pairs(self) -> float:
        """Ordered pairs of elements that share a set, an element with itself included."""
        return float(np.sum(self.n * np.square(self.size, dtype=float)))


@dataclass(frozen=True)
class LabelTally:
    """cells: the overlaps of an object and a segment. segments: all segments, 0 among them.

    segment_vox: voxels in segments other than 0; pure_vox: of each of these the most voxels in one object other than 0, summed.
    Of each of T objects, 0 among them where it is scored: object_ids, rising; object_vox, its scored voxels; best_vox, the most
    of them in one segment other than 0; best_segment, the lowest such segment, 0 where there is none; best_segment_vox, all
    scored voxels of that; n_segments, how many segments other than 0 it meets. For object 0, best_vox and n_segments are 0.
    """

    cells: Sizes
    segments: Sizes
    segment_vox: int
    pure_vox: int
    object_ids: np.ndarray
    object_vox: np.ndarray
    best_vox: np.ndarray
    best_segment: np.ndarray
    best_segment_vox: np.ndarray
    n_segments: np.ndarray

    @classmethod
    def of(cls, table: Contingency) -> LabelTally:
        """From the table of whole segments."""
        n_objects, n_segments = len(table.truth_ids), len(table.predicted_ids)
        segment_vox = table.predicted_counts.astype(np.int64)
        named = table.predicted_ids != 0
        shared = table.counts * ((table.truth_ids != 0)[table.truth_index] & named[table.predicted_index])
        best_vox, best = _largest(shared, table.truth_index, table.predicted_index, n_objects)
        pure_vox, _ = _largest(shared, table.predicted_index, table.truth_index, n_segments)
        has_best = best_vox > 0
        best_segment = np.zeros(n_objects, np.uint64)
        best_segment[has_best] = table.predicted_ids[best[has_best]]
        return cls(
            Sizes.of(table.counts),
            Sizes.of(segment_vox),
            int(segment_vox[named].sum()),
            int(pure_vox.sum()),
            table.truth_ids,
            table.truth_counts.astype(np.int64),
            best_vox,
            best_segment,
            np.where(has_best, segment_vox[best] if n_segments else 0, 0),
            np.bincount(table.truth_index[shared > 0], minlength=n_objects),
        )

    @classmethod
    def added(cls, tallies: Iterable[LabelTally]) -> LabelTally:
        """Of all parts together, which may be given one by one; a segment is in one of them only. At least one."""
        pending: list[LabelTally] = []
        n_added = n_pending = 0
        for tally in tallies:
            pending.append(tally)
            n_pending += tally._n_entries
            if n_pending > 2 * n_added + _MOST_PENDING:  # seldom enough that all additions cost little more than the last
                pending = [cls._sum(pending)]
                n_added = n_pending = pending[0]._n_entries
        return cls._sum(pending)

    @property
    def _n_entries(self) -> int:
        return len(self.object_ids) + len(self.cells.size) + len(self.segments.size)

    @classmethod
    def _sum(cls, tallies: Sequence[LabelTally]) -> LabelTally:
        cells, segments = (Sizes.added([getattr(tally, name) for tally in tallies]) for name in ("cells", "segments"))
        of_objects = {
            name: np.concatenate([getattr(tally, name) for tally in tallies])
            for name in ("object_ids", "object_vox", "best_vox", "best_segment", "best_segment_vox", "n_segments")
        }
        ids, place = np.unique(of_objects["object_ids"], return_inverse=True)
        best_vox, best = _largest(of_objects["best_vox"], place, of_objects["best_segment"], len(ids))
        row = np.zeros(len(ids), np.int64)
        is_best = (of_objects["best_vox"] == best_vox[place]) & (of_objects["best_segment"] == best[place])
        row[place[is_best]] = np.flatnonzero(is_best)
        total = {name: np.zeros(len(ids), np.int64) for name in ("object_vox", "n_segments")}
        for name, counts in total.items():
            np.add.at(counts, place, of_objects[name])
        return cls(
            cells,
            segments,
            sum(tally.segment_vox for tally in tallies),
            sum(tally.pure_vox for tally in tallies),
            ids,
            total["object_vox"],
            best_vox,
            of_objects["best_segment"][row] if len(ids) else np.zeros(0, np.uint64),
            of_objects["best_segment_vox"][row] if len(ids) else np.zeros(0, np.int64),
            total["n_segments"],
        )

    def renamed(self, names: np.ndarray) -> LabelTally:
        """With names[segment] in place of each segment; no two become one. names: (n,) unsigned, names[0] = 0."""
        return replace(self, best_segment=names[self.best_segment].astype(np.uint64))

    @property
    def n_voxels(self) -> int:
        return int(self.object_vox.sum())

    def variation_of_information(self) -> tuple[float, float]:
        """(split, merge) = (H(segment | object), H(object | segment)) in bits (Meila 2007)."""
        objects, cells, segments = (sizes.bits() for sizes in (Sizes.of(self.object_vox), self.cells, self.segments))
        return max(objects - cells, 0.0) / self.n_voxels, max(segments - cells, 0.0) / self.n_voxels

    def pair_counts(self) -> tuple[float, float, float]:
        """Ordered pairs, a voxel with itself included, that share (both, the object, the segment)."""
        return self.cells.pairs(), Sizes.of(self.object_vox).pairs(), self.segments.pairs()

    def arrays(self, prefix: str = "") -> dict[str, np.ndarray]:
        """All of it as arrays by name, for a file; `from_arrays` takes them back."""
        told = {
            "cell_size": self.cells.size,
            "cell_n": self.cells.n,
            "segment_size": self.segments.size,
            "segment_n": self.segments.n,
            "vox": np.array([self.segment_vox, self.pure_vox]),
        }
        names = ("object_ids", "object_vox", "best_vox", "best_segment", "best_segment_vox", "n_segments")
        return {f"{prefix}{name}": array for name, array in (told | {name: getattr(self, name) for name in names}).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], prefix: str = "") -> LabelTally:
        told = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        names = ("object_ids", "object_vox", "best_vox", "best_segment", "best_segment_vox", "n_segments")
        cells, segments = (Sizes(told[f"{name}_size"], told[f"{name}_n"]) for name in ("cell", "segment"))
        segment_vox, pure_vox = told["vox"].tolist()
        return cls(cells, segments, segment_vox, pure_vox, *(told[name] for name in names))


def _largest(counts: np.ndarray, rows: np.ndarray, columns: np.ndarray, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each row the largest count of a cell, and its column, the lowest of equal ones; 0 for a row without cells."""
    largest, column = np.zeros(n_rows, np.int64), np.zeros(n_rows, columns.dtype)
    rising = np.lexsort((columns, -counts))[::-1]
    largest[rows[rising]], column[rows[rising]] = counts[rising], columns[rising]
    return largest, column
