import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.artefacts import write_json
from pipeline_lib.report import ReportContents
from pipeline_lib.report.costs import costs_section, read_costs


def test_stages_stand_in_the_order_of_the_data(contents: ReportContents) -> None:
    costs = read_costs(contents)
    assert [(cost.stage, cost.subject) for cost in costs] == [
        *(("import", name) for name in ("train", "val", "test", "fresh")),
        ("train", "to step 100"),
        ("train", "to step 200"),
        *(("predict", name) for name in ("val", "test", "fresh")),
        ("sweep", "val"),
        *(("label", name) for name in ("val", "test", "fresh")),
        *(("segment", name) for name in ("val", "test", "fresh")),
        ("evaluate", "val"),
        ("evaluate", "test"),
    ]
    missing = {cost.stage for cost in costs if cost.record is None}
    assert missing == {"predict", "label", "evaluate"}  # the fixture measures the others


def test_jobs_that_share_a_stage_are_summed(own_run: dict[str, Any]) -> None:
    folder = Path(own_run["segmentation"]) / Path(own_run["volumes"]["test"]["folder"]).name
    complete = json.loads((folder / "complete.json").read_text())
    write_json(folder / "complete.json", {**complete, "n_jobs": 2})
    record = json.loads((folder / "record.json").read_text())
    for i, name in enumerate(("plan", "0-of-2", "1-of-2", "0-of-7")):  # the last is of a division that was given up
        told = {"wall_s": 100.0 * (i + 1), "peak_memory_mb": 1000.0 * (i + 1), "started": f"2020-01-0{9 - i}T00:00:00"}
        write_json(folder / "records" / f"{name}.json", record | told)
    contents = ReportContents.from_json(json.dumps(own_run))
    (cost,) = (cost for cost in read_costs(contents) if (cost.stage, cost.subject) == ("segment", "test"))
    assert cost.record is not None
    assert cost.record["wall_s"] == pytest.approx(600 + record["wall_s"])
    assert (cost.record["peak_memory_mb"], cost.record["started"], cost.n_jobs) == (3000, "2020-01-07T00:00:00", 2)
    assert "segment, 2 jobs" in costs_section(contents)


def test_times_and_memory_are_those_of_the_records(own_run: dict[str, Any]) -> None:
    path = Path(own_run["model"]) / "segments" / "200" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"wall_s": 754.2, "peak_memory_mb": 123456.0}))
    markup = costs_section(ReportContents.from_json(json.dumps(own_run)))
    assert "12 min 34 s" in markup
    assert markup.count("123.46 GB") == 2  # the row, and the largest of all
