"""The scores of one segmentation, and its errors to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.artefacts import (
    BlockDone,
    Budget,
    Crew,
    Demand,
    Finished,
    Run,
    compute_blocks,
    crew_for,
    read_json,
    run_task,
    write_json,
    write_text,
)
from pipeline_lib.artefacts.complete import content_of_complete
from pipeline_lib.artefacts.npz import map_array, read_arrays, write_array, write_arrays
from pipeline_lib.artefacts.records import checksum
from pipeline_lib.errors import UserError
from pipeline_lib.evaluation.nodes import NodeTable
from pipeline_lib.evaluation.portions import portions
from pipeline_lib.evaluation.scoring import GroundTruth
from pipeline_lib.evaluation.tables import errors_table, objects_table, read_skeletons, skeletons_table
from pipeline_lib.evaluation.verify import verify_with_funlib
from pipeline_lib.geometry import BlockGrid
from pipeline_lib.metrics import (
    LabelScores,
    LabelTally,
    SkeletonError,
    SkeletonScores,
    compare_skeleton_scores,
    score_skeletons,
    worst_errors,
)
from pipeline_lib.metrics.contingency import Contingency, tabulate
from pipeline_lib.settings.identity import ALGORITHM_VERSIONS, digest
from pipeline_lib.settings.scoring import SHARD_VOX
from pipeline_lib.settings.stages import EvaluateStage, science
from pipeline_lib.skeletons import Skeletons
from pipeline_lib.volumes import Volume, open_array

_NODE_BYTES = 300  # of a skeleton node with its edges, scores and errors: measured 160 to 270


def evaluate_volume(
    settings: EvaluateStage,
    segmentation: Path,
    volume: Volume,
    folder: Path,
    *,
    run: Run,
    against: Path | None = None,
    verify: bool = False,
) -> None:
    """Write `errors.csv`, `skeletons.csv`, `objects.csv` and, last, `metrics.json`; the volume is read block by block.

    against: the folder of another evaluation of this volume, to compare with; by default that of the settings. verify: also
    score with funlib.evaluate, where that is installed; other scores of its are a UserError, and nothing is written.
    """
    if against is None and settings.evaluation.against is not None:
        against = Path(settings.evaluation.against) / folder.name
    run_task(Evaluation(settings, segmentation, volume, folder, against=against, verify=verify), run)


class Evaluation:
    """A block gives the table of true labels and segments in it, and the segments at its skeleton nodes."""

    def __init__(
        self,
        settings: EvaluateStage,
        segmentation: Path,
        volume: Volume,
        folder: Path,
        *,
        against: Path | None,
        verify: bool,
    ) -> None:
        self.name = f"evaluate {volume.name}"
        self.folder = folder
        self.created: tuple[Path, ...] = ()
        self.last_file = folder / "metrics.json"
        self.truth = GroundTruth(volume, settings.evaluation)
        self.nodes = NodeTable(folder / "nodes", self.truth, settings.evaluation.block_vox)
        self._settings = settings
        self._segmentation = segmentation
        self._volume = volume
        self._against = against
        self._verify = verify
        labels = open_array(segmentation / "segmentation.zarr" / "0")
        if labels.shape != volume.shape_vox:
            raise UserError(
                f"{segmentation / 'segmentation.zarr'} has shape {labels.shape}, but volume {volume.name} {volume.shape_vox}; "
                "give the segmentation of this volume"
            )
        if against is not None:
            _check_comparable(against, volume)

    @property
    def inputs(self) -> Mapping[str, str]:
        against = {} if self._against is None else {"the other evaluation": checksum(self._against / "metrics.json")}
        return {
            "the code": str(ALGORITHM_VERSIONS["evaluate"]),
            "the settings": digest(science(self._settings), self._verify),
            "the segmentation": content_of_complete(self._segmentation),
            f"volume {self._volume.name}": self._volume.state(),
            **against,
        }

    @property
    def layout(self) -> Mapping[str, Any]:
        return {"block_vox": self._settings.evaluation.block_vox}

    @cached_property
    def grid(self) -> BlockGrid:
        return self.truth.grid(self._settings.evaluation.block_vox)

    @property
    def n_blocks(self) -> int:
        return len(self.grid)

    def prepare(self, run: Run) -> Crew:
        """UserError for blocks that do not fit, or for more skeletons than finishing could hold."""
        demand = Demand(
            self._settings.evaluation.block_vox, self.truth.need_mb, setting="evaluation.block_vox", step_vox=SHARD_VOX
        )
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
        yield from compute_blocks(self.tabulate, blocks, crew, name=self.name)

    def tabulate(self, index: int) -> list[Path]:
        """Write the segments at the nodes of one block and, where there are labels, its table ordered by segments."""
        block = self.grid[index]
        truth, nodes = self.truth.voxels_of(block), self.nodes.in_block(index)
        segments, cells = np.zeros(0, np.uint64), np.zeros((3, 0), np.uint64)
        if truth is not None or len(nodes.indices):
            labels = np.asarray(open_array(self._segmentation / "segmentation.zarr" / "0")[block.write_box.slices])
            segments = labels[tuple((nodes.voxels - block.write_box.start_vox).T)]
            if truth is not None:
                table = tabulate(truth.labels, labels, where=truth.scored).cells()
                order = np.argsort(table["predicted"], kind="stable")
                cells = np.stack([column.astype(np.uint64)[order] for column in table.values()])
        write_arrays(self._nodes_file(index), {"nodes": nodes.indices, "segments": segments})
        write_array(self._cells_file(index), cells)
        return [self._nodes_file(index), self._cells_file(index)]

    def _nodes_file(self, index: int) -> Path:
        return self.folder / "blocks" / f"{index}.npz"

    def _cells_file(self, index: int) -> Path:
        """(3, K) uint64: true ids, segments, rising, and counts."""
        return self.folder / "blocks" / f"{index}-cells.npy"

    def finish(self, budget: Budget) -> Finished:
        self._check_finish(budget)
        skeletons = self.truth.skeletons
        nodes = self._node_segments(len(skeletons.node_skeleton_ids) if skeletons is not None else 0)
        scores: SkeletonScores | None = None
        errors: list[SkeletonError] = []
        tolerance = self._settings.evaluation.merge_tolerance
        if skeletons is not None:
            scores = score_skeletons(skeletons, nodes, merge_tolerance=tolerance)
            limit = self._settings.evaluation.worst_errors
            errors = worst_errors(skeletons, nodes, limit=limit, merge_tolerance=tolerance)
        if self._verify:
            self._verified(skeletons, nodes, scores)
        comparison = _compare(scores, self._against, self._volume) if self._against is not None else None
        voxels = LabelScores.from_tally(self._tally(), self.truth.rule) if self.truth.has_voxels else None
        tables = {self.folder / "errors.csv": errors_table(errors, self._volume)}
        if scores is not None:
            tables[self.folder / "skeletons.csv"] = skeletons_table(scores)
        if voxels is not None:
            tables[self.folder / "objects.csv"] = objects_table(voxels)
        for path, table in tables.items():
            write_text(path, table)
        complete = read_json(self._segmentation / "complete.json")
        metrics = {
            "schema": 1,
            "volume": self._volume.name,
            "split": self._settings.split,
            "segmentation_id": self._segmentation.parent.name,
            "choice": complete["choice"],
            "n_segments": complete["n_segments"],
            "skeletons": scores.to_json() if scores is not None else None,
            "voxels": voxels.to_json() if voxels is not None else None,
            "comparison": comparison,
        }
        write_json(self.last_file, metrics)
        _tell(metrics)
        return Finished([*tables, self.last_file])

    def _node_segments(self, n_nodes: int) -> np.ndarray:
        """(N,) of all nodes; UserError unless each lies in one block."""
        segments, n_blocks_of = np.zeros(n_nodes, np.uint64), np.zeros(n_nodes, np.int64)
        n_strange = 0
        for index in range(self.n_blocks):
            arrays = read_arrays(self._nodes_file(index))
            known = (arrays["nodes"] >= 0) & (arrays["nodes"] < n_nodes)
            nodes = arrays["nodes"][known]
            segments[nodes] = arrays["segments"][known]
            np.add.at(n_blocks_of, nodes, 1)
            n_strange += len(known) - len(nodes)
        n_wrong = int(np.count_nonzero(n_blocks_of != 1)) + n_strange
        if n_wrong:
            raise UserError(
                f"{self.name}: {n_wrong} of {n_nodes} skeleton nodes are not in exactly one block of {self.folder / 'blocks'}; "
                f"remove {self.folder} and run again"
            )
        return segments

    def _tally(self) -> LabelTally:
        """Of the tables of all blocks, joined for so many segments at a time as fit into memory."""
        columns = [self._drawn(index) for index in range(self.n_blocks)]
        tallies = []
        for low, high in portions([column for column, _ in columns], sum(length for _, length in columns)):
            parts = [self._cells_between(index, low, high) for index in range(self.n_blocks)]
            truth, segments, counts = np.concatenate(parts, axis=1)
            tallies.append(LabelTally.of(Contingency.of_cells(truth, segments, counts.astype(np.int64))))
        return LabelTally.added(tallies)

    def _drawn(self, index: int) -> tuple[np.ndarray, int]:
        """Of the table of one block, as many segments apart as there are blocks, and its length."""
        segments = map_array(self._cells_file(index))[1]
        return np.array(segments[:: self.n_blocks]), len(segments)

    def _cells_between(self, index: int, low: np.uint64, high: np.uint64) -> np.ndarray:
        """(3, K) of the table of one block; its file is closed again, as more blocks than files can be open."""
        cells = map_array(self._cells_file(index))
        start, stop = np.searchsorted(cells[1], (low, high))
        return np.array(cells[:, start:stop])

    def _verified(self, skeletons: Skeletons | None, nodes: np.ndarray, scores: SkeletonScores | None) -> None:
        if skeletons is None or scores is None:
            raise UserError(f"there is nothing to verify: volume {self._volume.name} is not scored against skeletons")
        if scores.merge_tolerance != 0:
            scores = score_skeletons(skeletons, nodes)
        found = verify_with_funlib(skeletons, nodes, scores)
        print("\n".join(found.lines))
        if found.agrees is False:
            raise UserError("funlib.evaluate gives other scores, see above; please report this with the skeletons")


def _tell(metrics: Mapping[str, Any]) -> None:
    volume, skeletons, voxels, comparison = (metrics[key] for key in ("volume", "skeletons", "voxels", "comparison"))
    if skeletons is not None:
        print(f"{volume}: NERL {skeletons['nerl']:.3f} at merge tolerance {skeletons['merge_tolerance']}")
    if voxels is not None:
        print(f"{volume}: voxel VOI {voxels['voi_split']:.3f} split + {voxels['voi_merge']:.3f} merge")
    if comparison is not None:
        print(f"{volume} against {comparison['against']}: {comparison['verdict']}")


def _check_comparable(against: Path, volume: Volume) -> None:
    if not (against / "metrics.json").is_file():
        raise UserError(
            f"cannot compare with {against}: it holds no metrics.json; give the folder of one volume, "
            "evaluations/<id>/<volume>, or in evaluation.against the folder above it"
        )
    other = read_json(against / "metrics.json")
    if other["volume"] != volume.name:
        raise UserError(f"cannot compare volume {volume.name} with {against}, an evaluation of volume {other['volume']}")


def _compare(skeletons: SkeletonScores | None, against: Path, volume: Volume) -> dict[str, Any]:
    """As under "comparison" in metrics.json."""
    other = read_json(against / "metrics.json")
    if skeletons is None or other["skeletons"] is None:
        which = f"volume {volume.name}" if skeletons is None else against
        raise UserError(
            f"cannot compare with {against}: {which} is not scored against skeletons; see evaluation.skeleton_metrics"
        )
    table = read_skeletons(against / "skeletons.csv", merge_tolerance=float(other["skeletons"]["merge_tolerance"]))
    return {"against": other["segmentation_id"], **compare_skeleton_scores(skeletons, table).to_json()}
