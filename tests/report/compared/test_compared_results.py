import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_sweep import BASE, FakeRun, FakeVolume, grid

from pipeline_lib.report import ComparedRun
from pipeline_lib.report.compared.groups import grouped
from pipeline_lib.report.compared.results import results_table
from pipeline_lib.report.compared.runs import read_run

OnDisk = Callable[..., list[ComparedRun]]


def rows_of(runs: list[ComparedRun]) -> list[dict[str, str]]:
    text = results_table(grouped("fake", BASE, [read_run(run) for run in runs]))
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


def metrics_of(run: ComparedRun, volume: str) -> dict[str, Any]:
    return json.loads((run.contents.evaluation / volume / "metrics.json").read_text())


def test_a_row_holds_all_scalars_of_one_volume_in_full_precision(sweep_on_disk: OnDisk) -> None:
    runs = sweep_on_disk(grid([0.001, 0.01], [100], [0, 1]))
    rows = rows_of(runs)
    assert [(row["run"], row["volume"]) for row in rows] == [(run.name, v) for run in runs for v in ("cube2", "cube3")]
    for run, row in zip([run for run in runs for _ in range(2)], rows, strict=True):
        scores = metrics_of(run, f"{row['volume']}-both")
        for kind in ("skeletons", "voxels"):
            for name, value in scores[kind].items():
                if name.endswith("_ci95"):
                    assert [float(row[f"{kind}.{name}_{end}"]) for end in ("low", "high")] == value
                elif isinstance(value, dict):
                    assert {key: float(row[f"{kind}.{name}.{key}"]) for key in value} == value
                else:
                    assert row[f"{kind}.{name}"] == str(value)
        assert {path: float(row[path]) for path in ("training.learning_rate", "seed")} == {
            path: float(run.changed[path]) for path in ("training.learning_rate", "seed")
        }
        assert "segmentation.min_size_vox" not in row
        assert row["group"] == run.repeats
        assert row["split"] == {"cube2": "val", "cube3": "test"}[row["volume"]]
        assert float(row["threshold"]) == json.loads((run.contents.sweep / "choice.json").read_text())["threshold"]  # type: ignore[operator]
        assert (row["threshold_chosen_by"], row["page"]) == ("nerl", run.page)
        for name in ("model", "prediction", "sweep", "segmentation", "evaluation"):
            assert row[f"{name}_id"] == getattr(run.contents, name).name
        assert (float(row["training_wall_s"]), float(row["total_wall_s"])) == (600, 600 + 4 * 60)


def test_what_is_missing_is_an_empty_cell(sweep_on_disk: OnDisk) -> None:
    volumes = (FakeVolume("a", "val", truth="skeletons"), FakeVolume("b", "test", truth=""), FakeVolume("t", "train"))
    a, b = rows_of(sweep_on_disk([FakeRun({"x": 1}, 0.9)], volumes))
    assert a["skeletons.nerl"]
    assert "voxels.voi_sum" not in a
    assert (b["split"], b["n_segments"], b["skeletons.nerl"], b["skeletons.nerl_ci95_low"]) == ("test", "100", "", "")


def test_settings_that_are_no_numbers_survive(sweep_on_disk: OnDisk) -> None:
    odd = 'tab\there, "quotes"\nand a line'
    changes: list[dict[str, Any]] = [{"a": odd, "b": [1, 2]}, {"a": None, "b": {"k": "µ"}}, {"a": True}, {"seed": 7}]
    rows = [row for row in rows_of(sweep_on_disk([FakeRun(c, 0.9) for c in changes])) if row["volume"] == "cube2"]
    assert [row["a"] for row in rows] == [odd, "", "true", ""]
    assert [row["b"] for row in rows] == ["[1, 2]", '{"k": "µ"}', "", ""]
    assert [row["seed"] for row in rows] == ["0", "0", "0", "7"]


@pytest.mark.parametrize("n_skeletons", [1, 5])
def test_a_missing_interval_is_two_empty_cells(sweep_on_disk: OnDisk, n_skeletons: int) -> None:
    row, _ = rows_of(sweep_on_disk([FakeRun({"x": 1}, 0.9)], (FakeVolume("a", "val", n_skeletons), FakeVolume("b", "test"))))
    assert (row["skeletons.nerl_ci95_low"] == "") is (n_skeletons == 1)
    assert (row["skeletons.nerl_ci95_high"] == "") is (n_skeletons == 1)
