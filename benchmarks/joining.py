"""join_blocks on made-up blocks, against scipy's connected_components on the same pairs; prints seconds, memory and the ratio.

Every face between two blocks has as many edges as any other, between components drawn at random. In blocks of 256 x 512 x 512
voxels of FIB-25 at threshold 0.8 there are about 100 pairs for each open component, and those of one lie together. By default
there is a single pair for each, drawn anew every time, which is much harder, for time as for memory. The time is that of
join_blocks without that for making the blocks up; the memory is that of the whole process at its peak. As scipy takes more of
it, both are compared with fewer pairs: minimum of three rounds, in turns, each from all pairs to the ids of all components.

python benchmarks/joining.py
python benchmarks/joining.py --pairs-per-component 100 --pairs-together 20
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline_lib.components import BlockSummary, JoinedBlocks, join_blocks

ROUNDS = 3
MIN_SIZE_VOX = 300
_NONE = np.empty(0, np.uint32)


class MadeUpBlocks:
    """Blocks of a cubic grid with about n_pairs pairs in all. Counts the seconds that it takes to make them up."""

    def __init__(self, n_blocks_along: int, n_pairs: int, pairs_per_component: float, pairs_together: int) -> None:
        self.counts = (n_blocks_along,) * 3
        n_faces = 3 * (n_blocks_along - 1) * n_blocks_along**2
        self.edges_per_face = n_pairs // n_faces
        self.n_pairs = self.edges_per_face * n_faces
        self.n_open = max(1, int(n_pairs / pairs_per_component / n_blocks_along**3))
        self.pairs_together = pairs_together
        self.seconds = 0.0

    def __iter__(self) -> Iterator[BlockSummary]:
        for block in range(math.prod(self.counts)):
            start = time.perf_counter()
            summary = self.summary(block)
            self.seconds += time.perf_counter() - start
            yield summary

    def summary(self, block: int) -> BlockSummary:
        rng = np.random.default_rng(block)
        position = np.unravel_index(block, self.counts)
        first, last = (
            tuple(self._places(rng) if position[axis] != end else _NONE for axis in range(3)) for end in (0, self.counts[0] - 1)
        )
        open_ids = np.arange(1, self.n_open + 1, dtype=np.uint32)
        return BlockSummary(self.n_open, open_ids, rng.integers(1, 1000, self.n_open).astype(np.uint32), first, last)

    def _places(self, rng: np.random.Generator) -> np.ndarray:
        drawn = rng.integers(0, self.n_open, -(-self.edges_per_face // self.pairs_together), np.uint32)
        return np.repeat(drawn, self.pairs_together)[: self.edges_per_face]


def join(blocks: MadeUpBlocks) -> tuple[float, JoinedBlocks]:
    """Seconds without those for making the blocks up, and the result."""
    start, made_up = time.perf_counter(), blocks.seconds
    joined = join_blocks(blocks.counts, blocks, min_size_vox=MIN_SIZE_VOX)
    return time.perf_counter() - start - (blocks.seconds - made_up), joined


def pairs_of(blocks: MadeUpBlocks) -> np.ndarray:
    """(2, n_pairs) int32 components, numbered over all blocks."""
    found = []
    summaries = list(blocks)
    n_along = blocks.counts[0]
    for block, summary in enumerate(summaries):
        for axis, stride in enumerate((n_along**2, n_along, 1)):
            if len(summary.first[axis]):
                before = block - stride
                ends = (summaries[before].last[axis] + before * blocks.n_open, summary.first[axis] + block * blocks.n_open)
                found.append(np.stack(ends).astype(np.int32))
    return np.concatenate(found, axis=1)


def scipy_joins(pairs: np.ndarray, sizes_vox: np.ndarray) -> tuple[float, int]:
    """Seconds, and the number of segments that are large enough."""
    start = time.perf_counter()
    graph = coo_array((np.ones(pairs.shape[1], bool), tuple(pairs)), shape=(len(sizes_vox),) * 2)
    _, segments = connected_components(graph, directed=False)
    kept = np.bincount(segments, sizes_vox) >= MIN_SIZE_VOX
    np.where(kept, np.cumsum(kept), 0)[segments]
    return time.perf_counter() - start, int(kept.sum())


def compare(blocks: MadeUpBlocks) -> dict[str, Any]:
    pairs = pairs_of(blocks)
    sizes_vox = np.concatenate([summary.open_sizes_vox for summary in blocks])
    ours, peer = [], []
    for _ in range(ROUNDS):
        seconds, joined = join(blocks)
        peer_seconds, n_segments = scipy_joins(pairs, sizes_vox)
        if joined.n_segments != n_segments:
            raise SystemExit(f"join_blocks finds {joined.n_segments} segments, scipy {n_segments}")
        ours.append(seconds)
        peer.append(peer_seconds)
    return {
        "pairs": blocks.n_pairs,
        "seconds": min(ours),
        "scipy_seconds": min(peer),
        "scipy_over_join_blocks": min(peer) / min(ours),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000_000, help="edges between blocks in all (default: %(default)s)")
    parser.add_argument(
        "--peer-pairs", type=int, default=10_000_000, help="in the comparison with scipy (default: %(default)s)"
    )
    parser.add_argument("--blocks-along", type=int, default=10, help="blocks along each axis (default: %(default)s)")
    parser.add_argument("--pairs-per-component", type=float, default=1, help="default: %(default)s")
    parser.add_argument(
        "--pairs-together", type=int, default=1, help="one after the other between the same two (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    told = parser.parse_args()
    kind = (told.pairs_per_component, told.pairs_together)
    join(MadeUpBlocks(2, 100, *kind))  # compile
    blocks = MadeUpBlocks(told.blocks_along, told.pairs, *kind)
    seconds, joined = join(blocks)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    figures = {
        "pairs": blocks.n_pairs,
        "blocks": math.prod(blocks.counts),
        "open_components": len(joined.open_segments),
        "segments": joined.n_segments,
        "pairs_together": told.pairs_together,
        "seconds": seconds,
        "peak_mb": peak_mb,
        "peer": compare(MadeUpBlocks(told.blocks_along, told.peer_pairs, *kind)),
    }
    text = json.dumps(figures, indent=1)
    print(text)
    if told.json:
        told.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
