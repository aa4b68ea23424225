"""The scores of many thresholds on one val volume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.artefacts import BlockDone, Budget, Crew, Demand, Finished, Run, compute_blocks, crew_for, run_task
from pipeline_lib.artefacts.budget import PROCESS_MB
from pipeline_lib.artefacts.complete import content_of_complete
from pipeline_lib.artefacts.npz import length_of, read_arrays, write_arrays
from pipeline_lib.components import BlockSummary, JoinedBlocks, join_blocks, label_block, level_of
from pipeline_lib.components.regions import PointSweep, RegionForest, finish_sweep, join_regions, join_rounds, reduce_block
from pipeline_lib.errors import UserError
from pipeline_lib.evaluation.curve import CURVE_FILE, TriedThreshold, levels_of, write_levels, write_tried
from pipeline_lib.evaluation.nodes import NodeTable
from pipeline_lib.evaluation.portions import cells_bytes, portions
from pipeline_lib.evaluation.scoring import GroundTruth
from pipeline_lib.evaluation.whole_sweep import WholeSweep
from pipeline_lib.geometry import BlockGrid, Triple
from pipeline_lib.geometry.grid import Block
from pipeline_lib.metrics import LabelScores, LabelTally, score_skeletons, score_thresholds
from pipeline_lib.metrics.contingency import Contingency, joined, tabulate
from pipeline_lib.settings.identity import ALGORITHM_VERSIONS, digest
from pipeline_lib.settings.scoring import SHARD_VOX
from pipeline_lib.settings.stages import SweepStage, science
from pipeline_lib.volumes import Volume
from pipeline_lib.volumes.affinities import open_affinities, read_neighbour_affinities

AFFINITIES = "affinities.zarr/0"
_WHOLE = "whole_"  # in the names of what is told of components that lie in one block
_FOREST_BYTES = 20  # for each voxel of a block: affinities, basins, and what reducing them holds beside
_OPEN_BYTES = 24  # for each component with an edge out of its block
_DRAWN_BYTES = 16  # for each cell that is drawn to divide the tables of blocks
_NODE_BYTES = 400  # of a skeleton node, its edges and its share of a curve: measured 290 to 340
_REGION_FACTOR = 6  # what joining two regions holds, themselves included, by what they hold: measured 3.6 to 5


def sweep_volume(settings: SweepStage, prediction: Path, volume: Volume, folder: Path, *, run: Run) -> None:
    """Write `skeletons.npz` and `curve.json`: for each threshold what the segmentation would score.

    A threshold is scored by the very segmentation that it would give. Where segments are components, small ones dropped or
    not, the volume is read block by block and the scores at skeleton nodes are told of every level, too. Where they grow or
    take others in, the volume is held in memory.
    """
    if settings.segmentation.only_components:
        run_task(BlockSweep(settings, prediction, volume, folder), run)
    else:
        run_task(WholeSweep(settings, prediction, volume, folder), run)


class BlockSweep:
    """A block gives its reduced forest and, for each threshold to be scored in voxels, its components and their table."""

    def __init__(self, settings: SweepStage, prediction: Path, volume: Volume, folder: Path) -> None:
        self.name = f"sweep {volume.name}"
        self.folder = folder
        self.created: tuple[Path, ...] = ()
        self.last_file = folder / CURVE_FILE
        self.truth = GroundTruth(volume, settings.evaluation)
        self.nodes = NodeTable(folder / "nodes", self.truth, settings.segmentation.block_vox)
        self._settings = settings
        self._prediction = prediction
        self._volume = volume
        if settings.choice.thresholds == "all" and not self.truth.has_skeletons:
            raise UserError(
                f"choice.thresholds: all scores components at the nodes of skeletons, but volume {volume.name} has no skeletons"
            )

    @property
    def inputs(self) -> Mapping[str, str]:
        return {
            "the code": str(ALGORITHM_VERSIONS["sweep"]),
            "the settings": digest(science(self._settings)),
            "the prediction": content_of_complete(self._prediction),
            f"volume {self._volume.name}": self._volume.state(),
        }

    @property
    def layout(self) -> Mapping[str, Any]:
        return {"block_vox": self._settings.segmentation.block_vox}

    @cached_property
    def grid(self) -> BlockGrid:
        return self.truth.grid(self._settings.segmentation.block_vox)

    @property
    def n_blocks(self) -> int:
        return len(self.grid)

    @property
    def _in_voxels(self) -> tuple[float, ...]:
        """The thresholds to be scored against labels."""
        tried = self._settings.choice.thresholds
        return tried if self.truth.has_voxels and tried != "all" else ()

    @property
    def _lowest(self) -> float:
        tried, lowest = self._settings.choice.thresholds, self._settings.choice.lowest
        return lowest if tried == "all" else min(lowest, tried[0])

    def _need_mb(self, block_vox: Triple) -> float:
        forest_mb = _FOREST_BYTES * self.truth.grid(block_vox)[0].write_box.n_voxels / 1e6
        return forest_mb + (self.truth.need_mb(block_vox) if self._in_voxels else 0.0)

    def prepare(self, run: Run) -> Crew:
        """UserError for blocks that do not fit, or for more skeletons than finishing could hold."""
        block_vox = self._settings.segmentation.block_vox
        demand = Demand(block_vox, self._need_mb, setting="segmentation.block_vox", step_vox=SHARD_VOX)
        crew = crew_for(demand, run.budget, name=self.name, n_blocks=self.n_blocks)
        if run.step.kind == "all":
            self._check_finish(run.budget)
        return crew

    def _check_finish(self, budget: Budget) -> None:
        self.truth.check_skeletons_fit(budget, node_bytes=_NODE_BYTES, name=self.name)

    def create(self) -> None:
        """What an earlier plan left may be of other skeletons or blocks."""
        self.nodes.write()

    def compute(self, blocks: Sequence[int], crew: Crew) -> Iterator[BlockDone]:
        self.nodes.write_unless_intact()
        yield from compute_blocks(partial(self.reduce, threads=crew.threads), blocks, crew, name=self.name)

    def reduce(self, index: int, *, threads: int) -> list[Path]:
        block = self.grid[index]
        affinities, before, after = read_neighbour_affinities(
            open_affinities(self._prediction / AFFINITIES).array, block.write_box
        )
        own = affinities[(slice(None), *(slice(int(goes_on), None) for goes_on in before))]
        forest = reduce_block(
            own,
            block.write_box,
            self.grid.shape_vox,
            lowest=self._lowest,
            points_vox=self.nodes.in_block(index).voxels,
            min_size_vox=self._settings.segmentation.min_size_vox,
            threads=threads,
        )
        path = self._forest_file(index)
        write_arrays(path, forest.arrays())
        del own, forest
        if not self._in_voxels:
            return [path]
        return [path, *self._tabulate(index, block, affinities, before, after, threads=threads)]

    def _tabulate(
        self, index: int, block: Block, affinities: np.ndarray, before: Any, after: Any, *, threads: int
    ) -> Iterator[Path]:
        truth = self.truth.voxels_of(block)
        if truth is None:
            return
        for i, threshold in enumerate(self._in_voxels):
            found = label_block(
                affinities,
                threshold,
                goes_on_before=before,
                goes_on_after=after,
                min_size_vox=self._settings.segmentation.min_size_vox,
                threads=threads,
            )
            table = tabulate(truth.labels, found.labels, where=truth.scored)
            # Background and what goes on in other blocks is tallied when the blocks are joined.
            whole = ~np.isin(table.predicted_ids, np.append(found.summary.open_ids, 0))[table.predicted_index]
            arrays = LabelTally.of(table.chosen(whole)).arrays(_WHOLE) | table.chosen(~whole).cells()
            path = self._tried_file(i, index)
            write_arrays(path, {**found.summary.arrays(), **arrays})
            yield path

    def _forest_file(self, index: int) -> Path:
        return self.folder / "blocks" / f"{index}.npz"

    def _tried_file(self, i: int, index: int) -> Path:
        return self.folder / "blocks" / f"{index}-tried-{i}.npz"

    def finish(self, budget: Budget) -> Finished:
        self._check_finish(budget)
        for i, threshold in enumerate(self._in_voxels):
            self._check_tables(i, threshold, budget)
        sweep = finish_sweep(self._forest(budget), self.truth.node_voxels())
        skeletons = self.truth.skeletons
        tried = self._settings.choice.thresholds
        levels = curve = None
        if skeletons is not None:
            tolerance = self._settings.evaluation.merge_tolerance
            curve = score_thresholds(skeletons, sweep.history, lowest_level=level_of(self._lowest), merge_tolerance=tolerance)
            levels = levels_of(curve, sweep)
        if tried == "all":
            if curve is None or levels is None:
                raise ValueError("thresholds: all needs skeletons")
            write_levels(self.folder, self._volume.name, curve, levels)
        else:
            write_tried(self.folder, self._volume.name, self._tried(tried, sweep), levels)
        return Finished([self.last_file])

    def _check_tables(self, i: int, threshold: float, budget: Budget) -> None:
        """UserError where the joined tables of the i-th threshold do not fit into memory."""
        files = [self._tried_file(i, index) for index in range(self.n_blocks)]
        n_open, n_cells = (sum(length_of(file, name) for file in files) for name in ("open_ids", "counts"))
        need_mb = PROCESS_MB + (_OPEN_BYTES * n_open + _DRAWN_BYTES * n_cells / self.n_blocks + cells_bytes(n_cells)) / 1e6
        if need_mb > budget.memory_mb:
            raise UserError(
                f"{self.name}: joining {n_open} components at the faces of blocks, with {n_cells} overlaps with labels, at "
                f"threshold {threshold:g} takes {need_mb:.0f} MB, but the memory budget is {budget.memory_mb:.0f} MB; larger "
                "blocks (segmentation.block_vox) have fewer"
            )

    def _check_join(self, joining: Sequence[RegionForest], held_bytes: int, budget: Budget) -> None:
        """UserError where two regions cannot be joined in the memory that those waiting for another leave."""
        need_mb = PROCESS_MB + (held_bytes + _REGION_FACTOR * sum(forest.n_bytes for forest in joining)) / 1e6
        if need_mb > budget.memory_mb:
            sizes = " and ".join(" x ".join(map(str, forest.box.shape_vox)) for forest in joining)
            raise UserError(
                f"{self.name}: joining the regions of {sizes} voxels takes {need_mb:.0f} MB, but the memory budget is "
                f"{budget.memory_mb:.0f} MB; give the sweep more memory, or a smaller val volume"
            )

    def _forest(self, budget: Budget) -> RegionForest:
        """Of the whole volume: pairs are joined as soon as both are there, so that few regions are held at once."""
        parts = {join.joined: (join.left, join.right) for joins in join_rounds(self.grid) for join in joins}

        def of_region(region: int, held_bytes: int) -> RegionForest:
            """held_bytes: of the regions that wait for this one."""
            if region not in parts:
                return RegionForest.from_arrays(read_arrays(self._forest_file(region)))
            left = of_region(parts[region][0], held_bytes)
            right = of_region(parts[region][1], held_bytes + left.n_bytes)
            self._check_join([left, right], held_bytes, budget)
            return join_regions(left, right)

        return of_region(max(parts, default=0), 0)

    def _tried(self, thresholds: Sequence[float], sweep: PointSweep) -> Iterator[TriedThreshold]:
        skeletons, tolerance = self.truth.skeletons, self._settings.evaluation.merge_tolerance
        for i, threshold in enumerate(thresholds):
            level = level_of(threshold)
            scores = None
            if skeletons is not None:
                scores = score_skeletons(skeletons, sweep.history.labels_at(level), merge_tolerance=tolerance)
            voxels = self._voxel_scores(i) if self._in_voxels else None
            yield TriedThreshold(threshold, int(sweep.n_segments[level]), scores, voxels)

    def _voxel_scores(self, i: int) -> LabelScores:
        """Of the i-th threshold, from the tables of its blocks."""
        smallest = self._settings.segmentation.min_size_vox
        summaries = (BlockSummary.from_arrays(arrays) for arrays in self._arrays_of(i))
        whole = join_blocks(self.grid.counts, summaries, min_size_vox=smallest)
        drawn, n_cells = [], 0
        for cells in self._open_cells(i, whole):
            drawn.append(np.sort(cells["predicted"])[:: self.n_blocks])
            n_cells += len(cells["counts"])

        def tallies() -> Iterator[LabelTally]:
            for index, arrays in enumerate(self._arrays_of(i)):
                segments = whole.table(index, BlockSummary.from_arrays(arrays))
                yield LabelTally.from_arrays(arrays, _WHOLE).renamed(segments)
            for low, high in portions(drawn, n_cells):
                yield LabelTally.of(joined(_between(cells, low, high) for cells in self._open_cells(i, whole)))

        return LabelScores.from_tally(LabelTally.added(tallies()), self.truth.rule)

    def _open_cells(self, i: int, whole: JoinedBlocks) -> Iterator[dict[str, np.ndarray]]:
        """Of each block what meets background and components that go on in other blocks, as segments."""
        for index, arrays in enumerate(self._arrays_of(i)):
            segments = whole.table(index, BlockSummary.from_arrays(arrays))
            yield {"truth": arrays["truth"], "predicted": segments[arrays["predicted"]], "counts": arrays["counts"]}

    def _arrays_of(self, i: int) -> Iterator[dict[str, np.ndarray]]:
        return (read_arrays(self._tried_file(i, index)) for index in range(self.n_blocks))


def _between(cells: Mapping[str, np.ndarray], low: np.uint64, high: np.uint64) -> Contingency:
    """The table of the cells of segments from `low` up to `high`."""
    inside = (cells["predicted"] >= low) & (cells["predicted"] < high)
    return Contingency.of_cells(**{name: column[inside] for name, column in cells.items()})
