import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.errors import UserError
from pipeline_lib.report import ReportContents
from pipeline_lib.report.contents import read_choice, read_results, read_rows


def test_what_the_workflow_passes_is_read(finished_run: dict[str, Any]) -> None:
    contents = ReportContents.from_json(json.dumps(finished_run))
    assert contents.project == "beams"
    assert {part.name: part.split for part in contents.volumes} == {
        "train": "train",
        "val": "val",
        "test": "test",
        "fresh": "test",
    }
    assert contents.segments == ("100", "200")
    assert contents.sweep == Path(finished_run["sweep"])


def test_wrong_contents_are_refused(finished_run: dict[str, Any]) -> None:
    without_model = {key: value for key, value in finished_run.items() if key != "model"}
    with pytest.raises(UserError, match="lack the key 'model'"):
        ReportContents.from_json(json.dumps(without_model))
    for wrong in ("{", "[]", json.dumps({**finished_run, "volumes": 3})):
        with pytest.raises(UserError, match="one JSON object of names and folders"):
            ReportContents.from_json(wrong)


def test_scored_test_volumes_come_first_and_train_is_left_out(contents: ReportContents) -> None:
    results = read_results(contents)
    assert [result.name for result in results] == ["test", "fresh", "val"]
    test, fresh, _ = results
    assert test.skeleton_scores == json.loads((contents.evaluation / "test-0003" / "metrics.json").read_text())["skeletons"]
    assert len(test.skeletons) == 6
    assert {error["kind"] for error in test.errors} == {"split"}
    assert (fresh.metrics, fresh.skeleton_scores, fresh.voxel_scores, fresh.errors, fresh.skeletons) == (
        None,
        None,
        None,
        (),
        (),
    )


def test_missing_scores_of_a_volume_with_truth_are_an_error(own_run: dict[str, Any]) -> None:
    (Path(own_run["evaluation"]) / "test-0003" / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"cannot read .*test-0003/metrics\.json"):
        read_results(ReportContents.from_json(json.dumps(own_run)))


def test_the_threshold_is_the_sweeps_or_that_of_the_settings(finished_run: dict[str, Any]) -> None:
    assert read_choice(ReportContents.from_json(json.dumps(finished_run)))["volumes"] == ["val"]
    given = {**finished_run, "sweep": None, "settings": {"segmentation": {"threshold": 0.25}}}
    assert read_choice(ReportContents.from_json(json.dumps(given))) == {"threshold": 0.25, "by": "settings", "warning": None}


def test_a_table_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "none.csv") == ()
