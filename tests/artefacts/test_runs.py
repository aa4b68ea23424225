import errno
import os
import resource
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline_lib.artefacts import Lock
from pipeline_lib.artefacts.runs import forget_future, list_artefacts, prune, record_run
from pipeline_lib.cli.app import app
from pipeline_lib.errors import UserError
from pipeline_lib.settings import parse_project
from pipeline_lib.settings.paths import Paths


def synthetic(split, seed):
    return {"kind": "synthetic", "split": split, "shape_vox": [16, 16, 16], "seed": seed}


def settings_of(tmp_path, **changes):
    volumes = {name: synthetic(name, seed) for seed, name in enumerate(("train", "val", "test"))}
    return {"project": "mine", "results": str(tmp_path / "results"), "volumes": volumes, **changes}


def run(tmp_path, **changes):
    """A project whose results lie there, a byte in each last file."""
    project = parse_project(settings_of(tmp_path, **changes))
    for file in Paths(project).last_files():
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text("x")
    record_run(project)
    return project


def names(artefacts):
    return {f"{found.kind}/{found.name}" for found in artefacts}


def ids(project):
    return {"/".join(Path(file).relative_to(Paths(project).folder).parts[:2]) for file in Paths(project).last_files()}


def test_results_from_the_future_are_of_now(tmp_path):
    project = run(tmp_path)
    first, second, *_ = files = [Path(file) for file in Paths(project).last_files()]
    day_s = 24 * 3600
    os.utime(first, (time.time() + day_s, time.time() + day_s))
    os.utime(second, (time.time() - day_s, time.time() - day_s))
    forget_future(project)
    assert all(path.stat().st_mtime <= time.time() for path in files)
    assert second.stat().st_mtime < time.time() - day_s + 60


def test_every_id_is_listed_with_what_differs(tmp_path):
    base = run(tmp_path)
    longer = run(tmp_path, training={"steps": 99}, choice={"by": "voi_skeletons"})
    filtered = run(tmp_path, segmentation={"min_size_vox": 7})
    found = {f"{artefact.kind}/{artefact.name}": artefact for artefact in list_artefacts([base])}
    assert set(found) == ids(base) | ids(longer) | ids(filtered)
    assert {name for name, artefact in found.items() if artefact.needed} == ids(base)
    assert {artefact.state for artefact in found.values()} == {"complete"}
    for name in ids(base):
        assert found[name].differs == ""
    for name in ids(longer) - ids(base):
        assert found[name].differs == "choice.by=voi_skeletons, training.steps=99"
    for name in ids(filtered) - ids(base):
        assert found[name].differs == "segmentation.min_size_vox=7"
    volumes = [artefact for artefact in found.values() if artefact.kind == "volumes"]
    assert len(volumes) == 3
    assert all(artefact.size_bytes == 1 and abs(artefact.changed_s - time.time()) < 60 for artefact in volumes)


def test_what_is_not_finished_and_what_no_run_made(tmp_path):
    base = run(tmp_path)
    stray = Path(Paths(base).folder) / "models" / "rsunet-00000000"
    stray.mkdir()
    next(Path(Paths(base).prediction_folder).rglob("complete.json")).unlink()
    states = {artefact.name: artefact.state for artefact in list_artefacts([base])}
    assert states.pop(stray.name) == "unknown"
    assert states.pop(Path(Paths(base).prediction_folder).name) == "partial"
    assert set(states.values()) == {"complete"}


def test_prune_deletes_what_no_config_needs_and_nothing_else(tmp_path):
    base, other = run(tmp_path), run(tmp_path, segmentation={"min_size_vox": 7})
    run(tmp_path, training={"steps": 99})
    folder = Path(Paths(base).folder)
    kept = [
        folder / "report" / "index.html",
        folder / "models" / "notes",
        folder / "logs" / "train-00000000" / "a.log",
        folder / "a",
    ]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    expected = ids(base) | ids(other)
    gone = prune([base, other])
    assert names(gone).isdisjoint(expected)
    assert {artefact.kind for artefact in gone} == {"models", "predictions", "sweeps", "segmentations", "evaluations"}
    assert names(list_artefacts([base, other])) == expected
    assert all(Path(file).exists() for project in (base, other) for file in Paths(project).last_files())
    assert [path.read_text() for path in kept] == ["mine"] * 4
    assert len(list((folder / "runs").glob("*.json"))) == 2
    assert prune([base, other]) == []


def test_prune_goes_on_after_a_kill(tmp_path, monkeypatch):
    base = run(tmp_path)
    run(tmp_path, training={"steps": 99})
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # killed before anything was deleted
    gone = prune([base])
    monkeypatch.undo()
    assert names(list_artefacts([base])) == ids(base)
    assert len(list((Path(Paths(base).folder) / ".removed").rglob("*.json"))) > 0
    assert len(gone) == 5
    assert prune([base]) == []
    assert not (Path(Paths(base).folder) / ".removed").exists()


def test_nothing_in_use_is_deleted(tmp_path):
    base = run(tmp_path)
    old = run(tmp_path, training={"steps": 99})
    with Lock(Path(Paths(base).folder), what="the workflow"), pytest.raises(UserError, match="is in use by the workflow"):
        prune([base])
    before = {path for path in Path(Paths(base).folder).rglob("*.*") if path.name != ".lock"}
    assert Path(Paths(old).network()) in before
    for kind in ("models", "evaluations"):
        files = [Path(file) for file in Paths(old).last_files()]
        inside = next(file.parent for file in files if kind in file.parts and file not in map(Path, Paths(base).last_files()))
        with Lock(inside, what="a stage"), pytest.raises(UserError, match="is in use by a stage"):
            prune([base])
        assert {path for path in Path(Paths(base).folder).rglob("*.*") if path.name != ".lock"} == before


def test_more_locks_than_files_may_be_open_by_default(tmp_path):
    base = run(tmp_path)
    stray = Path(Paths(base).folder) / "models" / "rsunet-00000000"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_open = len(list(Path("/proc/self/fd").iterdir()))
    for k in range(20):
        with Lock(stray / str(k), what="a stage"):
            pass
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 12, hard))
    try:
        assert names(prune([base])) == {"models/rsunet-00000000"}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_folder_that_cannot_be_changed_is_one_clear_message(tmp_path, monkeypatch):
    base = run(tmp_path)
    run(tmp_path, training={"steps": 99})

    def refuse(path, **_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(UserError, match=r"cannot write in .*mine: Read-only file system"):
        prune([base])


def test_configs_of_two_projects_are_refused(tmp_path):
    one, two = (parse_project(settings_of(tmp_path, project=name)) for name in ("one", "two"))
    with pytest.raises(UserError, match=r"the configs must share one project folder, got .*one, .*two"):
        list_artefacts([one, two])


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = run(tmp_path)
    run(tmp_path, training={"steps": 99})
    (tmp_path / "mine.yaml").write_text(str(settings_of(tmp_path)).replace("'", '"'))
    old = time.time() - 3 * 86400
    os.utime(Paths(base).network(), (old, old))
    for path in Path(Paths(base).model_folder).rglob("*.ckpt"):
        os.utime(path, (old, old))
    listed = CliRunner().invoke(app, ["runs", "mine.yaml"])
    assert listed.exit_code == 0, listed.output
    lines = listed.output.splitlines()
    assert lines[0].split() == ["result", "state", "size", "age", "set", "otherwise", "than", "in", "the", "first", "config"]
    assert sum(line.startswith("- ") for line in lines) == 5
    assert all("training.steps=99" in line for line in lines if line.startswith("- "))
    model = f"models/{Path(Paths(base).model_folder).name}"
    assert [line.split() for line in lines if model in line] == [[model, "complete", "0.0", "MB", "3", "d"]]
    assert lines[-1] == "13 results, 0.0 MB; 5 of them, 0.0 MB, are needed by no config given (-)"
    assert names(list_artefacts([base])) > ids(base)
    pruned = CliRunner().invoke(app, ["runs", "mine.yaml", "--prune"])
    assert pruned.output.splitlines()[:-1] == lines
    assert pruned.output.splitlines()[-1] == "deleted 5 results, 0.0 MB"
    assert names(list_artefacts([base])) == ids(base)


def test_the_command_deletes_what_it_has_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = run(tmp_path)
    run(tmp_path, training={"steps": 99})
    (tmp_path / "mine.yaml").write_text(str(settings_of(tmp_path)).replace("'", '"'))
    late = Path(Paths(base).folder) / "models" / "rsunet-00000000"

    def shown(artefacts):
        late.mkdir()
        return f"{len(artefacts)} shown"

    monkeypatch.setattr("pipeline_lib.cli.runs.runs_table", shown)
    pruned = CliRunner().invoke(app, ["runs", "mine.yaml", "--prune"])
    assert pruned.output.splitlines() == ["13 shown", "deleted 5 results, 0.0 MB"]
    assert late.exists()


def test_an_evaluation_that_another_is_compared_with_is_kept(tmp_path):
    base = run(tmp_path, segmentation={"min_size_vox": 7})
    (evaluation,) = {Path(file).parents[1] for file in Paths(base).metrics()}
    compared = run(tmp_path, evaluation={"against": str(evaluation)})
    gone = prune([compared])
    assert evaluation.is_dir()
    assert gone
    assert all(artefact.folder != evaluation for artefact in gone)
    elsewhere = run(tmp_path, evaluation={"against": str(tmp_path / "elsewhere")})
    assert evaluation in {artefact.folder for artefact in prune([elsewhere])}
