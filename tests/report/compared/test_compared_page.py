import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import BASE, FakeRun, FakeVolume, grid
from page_reader import Reader

from pipeline_lib.errors import UserError
from pipeline_lib.report import ComparedRun, ReportContents, charts, write_comparison

OnDisk = Callable[..., list[ComparedRun]]
SECTIONS = {"result", "settings-compared", "tests", "plots", "curves", "runs", "settings", "costs"}

VOLUMES_ON_SKELETONS = (FakeVolume("cube2", "val", truth="skeletons"), FakeVolume("cube3", "test", truth="skeletons"))


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts take most of the time of a page; each has its own test."""
    monkeypatch.setattr(charts, "draw", lambda paint, size=None: "<svg></svg>")


def write(runs: list[ComparedRun], folder: Path, project: str = "fake") -> Reader:
    output = folder / "comparison" / "index.html"
    write_comparison(project, BASE, runs, output)
    return Reader(output.read_text(encoding="utf-8"))


def rows_of(page: Reader, table: int) -> list[list[str]]:
    return [row for row in page.tables[table]["rows"] if row]


def test_a_grid_with_seeds(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    runs = sweep_on_disk(grid([0.001, 0.01], [100, 300], [0, 1]), VOLUMES_ON_SKELETONS)
    page = write(runs, tmp_path)
    assert {run.page for run in runs} <= set(page.links)
    assert page.anchors == SECTIONS
    assert (
        "Best of 4 settings on val, by NERL at merge tolerance 0 (more is better): learning_rate=0.001 min_size_vox=300"
        in page.text
    )
    assert "seed 0 , seed 1" in page.text
    assert "NERL on val over learning_rate" in page.alts
    assert "mergers on test over min_size_vox" in page.alts
    assert "VOI at nodes of cube2 over the threshold, all runs" in page.alts
    assert [len(rows_of(page, table)) for table in (0, 1)] == [4, 8]
    assert sorted(path.name for path in (tmp_path / "comparison").iterdir()) == ["headline.txt", "index.html", "results.tsv"]
    assert write(runs, tmp_path).raw == page.raw


@pytest.mark.usefixtures("no_charts")
def test_nothing_is_fetched(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    runs = sweep_on_disk(grid([0.001, 0.01], [100, 300], [0, 1]))
    page = write(runs, tmp_path)
    assert all(source.startswith("data:") for source in page.sources)
    inside = {link for link in page.links if link not in {run.page for run in runs}} - {"data:,"}
    assert inside == {f"#{anchor}" for anchor in SECTIONS}
    assert not re.search(r"https?:|url\(|@import|src=\"(?!data:)|fetch|XMLHttp", page.raw)
    assert page.n_scripts == 1


@pytest.mark.usefixtures("no_charts")
def test_columns_sort_by_the_plain_values(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    runs = sweep_on_disk(grid([0.001, 0.01], [100, 300], [0]))
    page = write(runs, tmp_path)
    for table in page.tables:
        heads, rows = table["heads"], [row for row in table["rows"] if row]
        assert all(len(row) == len(heads) for row in rows)
        for column, head in enumerate(heads):
            if head["data-kind"] == "number":
                assert all(row[column] == "" or float(row[column]) == float(row[column]) for row in rows)
    heads = page.tables[0]["heads"]
    sorted_by = [column for column, head in enumerate(heads) if "aria-sort" in head]
    assert len(sorted_by) == 1
    assert heads[sorted_by[0]] | {"aria-sort": "descending", "data-first": "descending"} == heads[sorted_by[0]]
    nerl = [float(row[sorted_by[0]]) for row in rows_of(page, 0)]
    assert nerl == sorted(nerl, reverse=True)
    scores = [json.loads((run.contents.evaluation / "cube2-both" / "metrics.json").read_text()) for run in runs]
    assert nerl == pytest.approx(sorted((s["skeletons"]["nerl"] for s in scores), reverse=True))
    assert page.raw.count("<button") == sum(len(table["heads"]) for table in page.tables)
    first = {head["data-first"] for head in heads if head["data-kind"] == "text"}
    assert first == {"ascending"}


@pytest.mark.usefixtures("no_charts")
def test_hostile_names_are_shown_as_they_are(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    odd = ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(2)>", "$\\frac{1}{$", "&amp;<b>"]
    fakes = [FakeRun({"<i>path</i>.x": value, "y": i % 2}, 0.9 - 0.01 * i) for i, value in enumerate(odd)]
    volumes = (FakeVolume("v<u>", "val"), FakeVolume("t\"'", "test"))
    runs = [
        replace(run, name=f"x={value}", page=f'"{i}<u>/index.html')
        for i, (run, value) in enumerate(zip(sweep_on_disk(fakes, volumes), odd, strict=True))
    ]
    page = write(runs, tmp_path, project="<b>project</b>")
    assert all(f"x={value}" in page.text for value in odd)
    assert {run.page for run in runs} <= set(page.links)
    assert "<b>project</b>" in page.text
    assert page.n_scripts == 1
    assert not re.search(r"<i>path|<u>|onerror=alert\(2\)>|<script>alert", page.raw)


def test_hostile_labels_are_drawn(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    odd = ["$\\frac{1}{$", "<tag> -- & more", "a\nb" * 30]
    runs = sweep_on_disk([FakeRun({"p$_{": value}, 0.9) for value in odd], (FakeVolume("cube$^2", "val"),))
    assert "NERL on val over p$_{" in write(runs, tmp_path).alts


@pytest.mark.usefixtures("no_charts")
def test_one_run(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    runs = sweep_on_disk([FakeRun({}, 0.9)])
    text = write(runs, tmp_path).text
    assert "The only setting on val, by NERL at merge tolerance 0 (more is better): base" in text
    assert "There is nothing to compare with." in text
    assert "No setting varies." in text
    assert "No run differs from the config without its sweep." in text
    assert "All runs together took 14 min 00 s of wall time, 10 min 00 s of it for training." in text
    with pytest.raises(UserError, match="no run to compare"):
        write([], tmp_path)


@pytest.mark.usefixtures("no_charts")
def test_seeds_alone(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    runs = [replace(run, repeats="") for run in sweep_on_disk([FakeRun({"seed": seed}, 0.9, seed=seed) for seed in range(4)])]
    text = write(runs, tmp_path).text
    assert (
        "The only setting on val, by NERL at merge tolerance 0 (more is better): all runs seed 0 , seed 1 , seed 2 , seed 3"
        in text
    )
    assert "mean of 4 runs, sd 0.0" in text
    assert "No setting varies but the seed or fold." in text


@pytest.mark.slow
def test_hundreds_of_runs_make_a_page_of_reasonable_size(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    fakes = [FakeRun({"a": i * 0.001, "b": f"kind {i % 3}"}, 0.9 - 0.0005 * i, seed=i) for i in range(300)]
    page = write(sweep_on_disk(fakes, (FakeVolume("cube2", "val", truth="skeletons"),)), tmp_path)
    assert len(page.raw) < 2_500_000
    assert "All 300 runs with all scores" in page.text
    assert "294 others" in page.text
    assert page.text.count("269 more") == 1  # of the tests
    assert page.text.count("270 more") == 1  # of the settings that differ


@pytest.mark.usefixtures("no_charts")
def test_many_settings_are_drawn_in_part(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    runs = sweep_on_disk([FakeRun({f"s{k}": i for k in range(9)}, 0.9) for i in range(3)])
    page = write(runs, tmp_path)
    assert "Not drawn: s6, s7, s8. results.tsv has all settings." in page.text
    assert "NERL on val over s5" in page.alts


@pytest.mark.usefixtures("no_charts")
def test_test_scores_decide_nothing(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    volumes = (FakeVolume("cube3", "test"),)
    fakes = [FakeRun({"x": 1}, 0.9), FakeRun({"x": 2}, 0.8)]
    told = replace_choice(sweep_on_disk(fakes, volumes))
    text = write(told, tmp_path).text
    assert "No val volume is scored, and test scores decide nothing: no setting is called the best." in text
    assert "Nothing decides which setting is the best: no val volume is scored." in text
    assert 'class="best"' not in write(told, tmp_path).raw


def replace_choice(runs: list[ComparedRun]) -> list[ComparedRun]:
    """With a threshold that the settings give."""
    given = {"segmentation": {"threshold": 0.5}}
    return [replace(run, contents=replace(run.contents, sweep=None, settings=given)) for run in runs]


@pytest.mark.usefixtures("no_charts")
def test_given_thresholds_have_no_curves(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    runs = sweep_on_disk([FakeRun({"x": 1}, 0.9), FakeRun({"x": 2}, 0.8)])
    assert "All thresholds are given by the settings; nothing was swept." in write(replace_choice(runs), tmp_path).text
    mixed = [runs[0], *replace_choice(runs[1:])]
    assert "1 run has no curve: the threshold is given by the settings." in write(mixed, tmp_path).text


@pytest.mark.usefixtures("no_charts")
def test_volumes_and_measures_that_are_missing_are_named(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    volumes = (FakeVolume("a", "val", truth="voxels"), FakeVolume("b", "test", truth=""))
    page = write(sweep_on_disk([FakeRun({"x": 1}, 0.9), FakeRun({"x": 2}, 0.8)], volumes), tmp_path)
    assert "Best of 2 settings on val, by VOI in voxels (less is better): x=1" in page.text
    assert "No volume is scored on skeletons, which the tests draw from." in page.text
    assert "VOI in voxels is not tested: the tests draw skeletons anew." in page.text
    assert "Segmented, but not scored, as there is no truth: b (test)." in page.text
    assert "No test volume is scored." in page.text
    assert not [alt for alt in page.alts if "on test" in alt]
    assert "NERL" not in page.text.replace("NERL: 1 is best", "")


@pytest.mark.usefixtures("no_charts")
def test_a_score_that_one_split_lacks_is_named(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    volumes = (FakeVolume("a", "val"), FakeVolume("b", "test", truth="skeletons"))
    page = write(sweep_on_disk([FakeRun({"x": 1}, 0.9), FakeRun({"x": 2}, 0.8)], volumes), tmp_path)
    assert "VOI in voxels on test, less is better: not scored" in page.text
    assert {"NERL on test over x", "VOI in voxels on val over x"} <= set(page.alts)


@pytest.mark.usefixtures("no_charts")
def test_a_run_with_other_volumes_is_no_failure(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    both = sweep_on_disk([FakeRun({"x": 1}, 0.9), FakeRun({"x": 2}, 0.8)])
    fewer = tuple(part for part in both[1].contents.volumes if part.split != "val")
    runs = [both[0], replace(both[1], contents=replace(both[1].contents, volumes=fewer))]
    text = write(runs, tmp_path).text
    assert "Not all are scored on the same val volumes: their means cannot be compared." in text
    assert "Without NERL on val, and so not ranked: x=2." in text
    assert "no conclusion: no NERL on val" in text


@pytest.mark.usefixtures("no_charts")
@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("evaluation", "cube2-both/metrics.json"),
        ("evaluation", "cube3-both/skeletons.csv"),
        ("segmentation", "cube3-both/complete.json"),
        ("sweep", "cube2-both/curve.json"),
        ("sweep", "choice.json"),
    ],
)
def test_a_missing_file_is_named_and_nothing_is_written(sweep_on_disk: OnDisk, tmp_path: Path, folder: str, file: str) -> None:
    runs = sweep_on_disk([FakeRun({"x": 1}, 0.9), FakeRun({"x": 2}, 0.8)])
    path = Path(getattr(runs[1].contents, folder)) / file
    path.unlink()
    with pytest.raises(UserError, match=f"cannot read {re.escape(str(path))}"):
        write(runs, tmp_path)
    assert not (tmp_path / "comparison").exists()


@pytest.mark.usefixtures("no_charts")
def test_a_broken_table_of_skeletons_is_named(sweep_on_disk: OnDisk, tmp_path: Path) -> None:
    runs = sweep_on_disk([FakeRun({"x": 1}, 0.9)])
    path = runs[0].contents.evaluation / "cube2-both" / "skeletons.csv"
    path.write_text("skeleton,length_nm\n1,2\n")
    with pytest.raises(UserError, match=r"skeletons\.csv is no table of scored skeletons"):
        write(runs, tmp_path)


@pytest.mark.usefixtures("no_charts")
def test_a_real_run_is_compared_with_itself(finished_run: dict[str, Any], tmp_path: Path) -> None:
    """As the stages leave it, with a volume without truth."""
    contents = ReportContents.from_json(json.dumps(finished_run))
    runs = [ComparedRun(f"x={x}", {"x": x}, f"x={x}", f"{x}.html", contents) for x in (1, 2)]
    text = write(runs, tmp_path).text
    assert "Segmented, but not scored, as there is no truth: fresh (test)." in text
    scores = json.loads((contents.evaluation / "test-0003" / "metrics.json").read_text())
    assert f"NERL {scores['skeletons']['nerl']:.3f} 95 % interval" in text
    assert "On val the paired tests call 0 of 1 other settings worse, 0 better; 1 they cannot tell from it." in text
