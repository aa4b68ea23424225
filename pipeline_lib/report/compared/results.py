"""The scores of all runs as one table for other tools: results.tsv."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from pipeline_lib.report.compared.groups import Sweep
from pipeline_lib.report.compared.runs import ScoredRun, ScoredVolume
from pipeline_lib.report.compared.swept import MISSING, swept_paths, value_of

_INTERVAL = "_ci95"


def results_table(sweep: Sweep) -> str:
    """One row per run and volume, tab-separated; a cell is empty where there is no such setting or score.

    Numbers are in full precision; settings that are no number or text are JSON. An interval fills the columns _ci95_low and
    _ci95_high.
    """
    paths = swept_paths([run.run for run in sweep.runs], sweep.base)
    rows = [
        _row(sweep, run, group.name, paths, volume) for group in sweep.groups for run in group.runs for volume in run.volumes
    ]
    header = list(dict.fromkeys(name for row in rows for name in row)) or ["run"]
    text = io.StringIO()
    writer = csv.DictWriter(text, header, restval="", delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(sweep: Sweep, run: ScoredRun, group: str, paths: list[str], volume: ScoredVolume) -> dict[str, object]:
    contents = run.run.contents
    return {
        "run": run.name,
        "group": group,
        **{path: _cell(value_of(run.run, path, sweep.base)) for path in paths},
        "split": volume.split,
        "volume": volume.name,
        "threshold": run.choice["threshold"],
        "threshold_chosen_by": run.choice["by"],
        "n_segments": volume.n_segments,
        **_scalars("skeletons", volume.scores("skeletons")),
        **_scalars("voxels", volume.scores("voxels")),
        "training_wall_s": _cell(run.wall_s("train")),
        "total_wall_s": _cell(run.wall_s()),
        "volume_id": volume.id,
        "model_id": contents.model.name,
        "prediction_id": contents.prediction.name,
        "sweep_id": contents.sweep.name if contents.sweep else "",
        "segmentation_id": contents.segmentation.name,
        "evaluation_id": contents.evaluation.name,
        "page": run.run.page,
    }


def _scalars(kind: str, scores: Mapping[str, Any]) -> dict[str, object]:
    cells: dict[str, object] = {}
    for name, value in scores.items():
        if name.endswith(_INTERVAL):
            low, high = value or ("", "")
            cells |= {f"{kind}.{name}_low": low, f"{kind}.{name}_high": high}
        elif isinstance(value, Mapping):
            cells |= {f"{kind}.{name}.{key}": _cell(of_key) for key, of_key in value.items()}
        else:
            cells[f"{kind}.{name}"] = _cell(value)
    return cells


def _cell(value: Any) -> object:
    if value is MISSING or value is None:
        return ""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    return json.dumps(value, ensure_ascii=False)
