"""The tables of an evaluation as CSV: its worst errors, its skeletons and its true objects."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import nm_to_vox_floor
from pipeline_lib.metrics import LabelScores, SkeletonError, SkeletonScores, SkeletonTable
from pipeline_lib.volumes import Volume


def errors_table(errors: list[SkeletonError], volume: Volume) -> str:
    header = ["kind", "loss_nm", "z_nm", "y_nm", "x_nm", "z_vox", "y_vox", "x_vox", "segments", "skeletons"]
    rows = []
    for error in errors:
        vox = nm_to_vox_floor(np.array([error.position_nm]), volume.voxel_size_nm)[0].tolist()
        place = [*(f"{p:.1f}" for p in error.position_nm), *vox]
        ids = [" ".join(map(str, error.segment_ids)), " ".join(map(str, error.skeleton_ids))]
        rows.append([error.kind, f"{error.loss_nm:.1f}", *place, *ids])
    return _csv([header, *rows])


def skeletons_table(scores: SkeletonScores) -> str:
    """With all that `read_skeletons` takes to compare segmentations, in full precision; VOI in bits per node."""
    columns = {
        "skeleton": scores.skeleton_ids,
        "length_nm": scores.skeleton_length_nm,
        "erl_nm": scores.skeleton_erl_nm,
        "max_erl_nm": scores.skeleton_max_erl_nm,
        "n_splits": scores.skeleton_n_splits,
        "merged": scores.skeleton_is_merged.astype(int),
        "n_nodes": scores.skeleton_n_nodes,
        "voi_split": scores.skeleton_voi_split,
        "voi_merge": scores.skeleton_voi_merge,
    }
    return _csv([list(columns), *zip(*(column.tolist() for column in columns.values()), strict=True)])


def read_skeletons(path: Path, *, merge_tolerance: float) -> SkeletonTable:
    """A table that `skeletons_table` made; UserError where it is not one."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return SkeletonTable.from_rows(rows, merge_tolerance=merge_tolerance)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no table of scored skeletons ({error}); run that evaluation again") from error


def objects_table(scores: LabelScores) -> str:
    """The true objects, the least complete first and of equal ones the largest; the columns are those of LabelScores."""
    columns = {
        "object": scores.object_ids,
        "size_vox": scores.object_size_vox,
        "completeness": scores.object_completeness.round(6),
        "purity": scores.object_purity.round(6),
        "n_segments": scores.object_n_segments,
        "best_segment": scores.object_best_segment,
    }
    worst_first = np.lexsort((-scores.object_size_vox, scores.object_completeness))
    return _csv([list(columns), *zip(*(column[worst_first].tolist() for column in columns.values()), strict=True)])


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
