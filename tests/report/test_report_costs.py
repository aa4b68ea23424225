import json
from pathlib import Path
from typing import Any

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
        *(("segment", name) for name in ("val", "test", "fresh")),
        ("evaluate", "val"),
        ("evaluate", "test"),
    ]
    missing = {cost.stage for cost in costs if cost.record is None}
    assert missing == {"predict", "evaluate"}  # the fixture measures the others


def test_times_and_memory_are_those_of_the_records(own_run: dict[str, Any]) -> None:
    path = Path(own_run["model"]) / "segments" / "200" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"wall_s": 754.2, "peak_memory_mb": 123456.0}))
    markup = costs_section(ReportContents.from_json(json.dumps(own_run)))
    assert "12 min 34 s" in markup
    assert markup.count("120.56 GB") == 2  # the row, and the largest of all
