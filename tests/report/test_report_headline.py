import json
from pathlib import Path
from typing import Any

from pipeline_lib.report import ReportContents, headline_text


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content))


def test_lines_for_the_terminal(own_run: dict[str, Any]) -> None:
    metrics = Path(own_run["evaluation"]) / "test-0003" / "metrics.json"
    told = read(metrics)
    told["skeletons"] |= {"nerl": 0.93412, "nerl_ci95": [0.9, 0.95678], "n_splits": 1, "n_non0_mergers": 2}
    told["skeletons"] |= {"merge_tolerance": 50, "voi_split": 0.1, "voi_merge": 0.05}
    told["voxels"] |= {"voi_split": 0.3, "voi_merge": 0.2}
    write(metrics, told)
    choice = Path(own_run["sweep"]) / "choice.json"
    write(choice, read(choice) | {"threshold": 0.8022, "warning": "at the end"})
    assert headline_text(ReportContents.from_json(json.dumps(own_run))).splitlines() == [
        "beams",
        "  test: NERL 0.934 at merge tolerance 50 (95 % interval 0.900 to 0.957); 1 split, 2 mergers",
        "  test: VOI at skeleton nodes 0.100 split + 0.050 merge, in voxels 0.300 split + 0.200 merge (bits)",
        "  fresh (test): 7 segments, not scored (the volume has no truth)",
        "  threshold 0.8022, chosen on val by NERL",
        "  warning: at the end",
    ]


def test_without_a_scored_test_volume_val_is_told_and_marked(finished_run: dict[str, Any]) -> None:
    volumes = {name: part for name, part in finished_run["volumes"].items() if name != "test"}
    lines = headline_text(ReportContents.from_json(json.dumps({**finished_run, "volumes": volumes}))).splitlines()
    assert lines[1].startswith("  fresh (test): 7 segments, not scored")
    assert lines[2].startswith("  val, used to choose: NERL ")


def test_one_metric_alone_and_none(own_run: dict[str, Any]) -> None:
    metrics = Path(own_run["evaluation"]) / "test-0003" / "metrics.json"
    told = read(metrics)
    write(metrics, told | {"skeletons": None})
    text = headline_text(ReportContents.from_json(json.dumps(own_run)))
    assert "NERL 0" not in text
    assert "  test: VOI in voxels" in text
    write(metrics, told | {"skeletons": None, "voxels": None})
    assert "  test: no metric asked for" in headline_text(ReportContents.from_json(json.dumps(own_run)))


def test_a_single_skeleton_and_a_comparison(own_run: dict[str, Any]) -> None:
    metrics = Path(own_run["evaluation"]) / "test-0003" / "metrics.json"
    told = read(metrics)
    told["skeletons"]["nerl_ci95"] = None
    write(metrics, told | {"comparison": {"against": "other/test-0003", "verdict": "no conclusion"}})
    lines = headline_text(ReportContents.from_json(json.dumps(own_run))).splitlines()
    assert "(no interval: fewer than two skeletons have edges); 1 split, 0 mergers" in lines[1]
    assert lines[3] == "  test against other/test-0003: no conclusion"


def test_many_volumes_are_cut_short(finished_run: dict[str, Any]) -> None:
    test = finished_run["volumes"]["test"]
    volumes = finished_run["volumes"] | {f"test{i}": test for i in range(5)}
    text = headline_text(ReportContents.from_json(json.dumps({**finished_run, "volumes": volumes})))
    assert "  and 4 more volumes, see the report" in text
    assert "test3" not in text
