"""What surrounds every stage: log, lock, record, exit codes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline_lib.artefacts import read_json
from pipeline_lib.cli.stage import stage
from pipeline_lib.errors import UserError


def test_a_mistake_is_one_line_in_the_log_and_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended, stage("segment", tmp_path / "out", tmp_path / "logs" / "a.log"):
        raise UserError("expected this, got that")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: segment: expected this, got that\n"
    assert (tmp_path / "logs" / "a.log").read_text() == "error: segment: expected this, got that\n"
    assert not (tmp_path / "out" / "record.json").exists()


def test_a_defect_keeps_its_traceback(tmp_path):
    with pytest.raises(SystemExit) as ended, stage("segment", tmp_path, tmp_path / "a.log"):
        print(1 / 0)
    assert ended.value.code == 1
    assert "ZeroDivisionError" in (tmp_path / "a.log").read_text()


def test_the_log_holds_only_the_last_state_of_a_progress_bar(tmp_path, capsys):
    with stage("segment", tmp_path, tmp_path / "a.log"):
        sys.stderr.write("\r10 %")
        sys.stderr.write("\r50 %\r")
        sys.stderr.write("100 %\nnext\n")
        print("done")
    assert (tmp_path / "a.log").read_text() == "100 %\nnext\ndone\n"
    assert capsys.readouterr().err == "\r10 %\r50 %\r100 %\nnext\n"
    assert read_json(tmp_path / "record.json")["stage"] == "segment"


def test_a_log_that_cannot_be_written_is_said(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended, stage("segment", tmp_path, tmp_path / "file" / "a.log"):
        pass
    assert ended.value.code == 2
    assert "cannot write the log" in capsys.readouterr().err


def test_a_stage_ends_when_its_workflow_is_killed(tmp_path):
    """The stage's parent, standing for the workflow, dies by SIGKILL; the stage must not write on beside its successor."""
    work = (
        "import sys, time; from pathlib import Path; from pipeline_lib.cli.stage import stage\n"
        "folder = Path(sys.argv[1])\n"
        "with stage('test', folder, None):\n"
        "    (folder / 'started').write_text('')\n"
        "    time.sleep(60)\n"
        "    (folder / 'ended').write_text('')\n"
    )
    parent = (
        "import os, subprocess, sys\n"
        "os.environ['PIPELINE_WORKFLOW'] = str(os.getpid())\n"
        f"subprocess.run([sys.executable, '-c', {work!r}, {str(tmp_path)!r}])"
    )
    with subprocess.Popen([sys.executable, "-c", parent]) as workflow:
        end = time.monotonic() + 60
        while not (tmp_path / "started").exists() and time.monotonic() < end:
            time.sleep(0.02)
        workflow.kill()
    with stage("test", tmp_path, None):  # waits for the lock, which the orphan gives up
        assert (tmp_path / "started").exists()
        assert not (tmp_path / "ended").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_stage_with_a_line_and_what_follows_it_does_not_disturb(tmp_path, capsys, number):
    def work():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            (tmp_path / "cleaned").write_text("")

    with pytest.raises(SystemExit) as ended, stage("test", tmp_path, tmp_path / "a.log"):
        work()
    assert ended.value.code == 128 + number
    assert (tmp_path / "cleaned").exists()
    assert capsys.readouterr().err == f"test: ended by {number.name}; run again to go on\n"
    assert not (tmp_path / "record.json").exists()


def test_a_stage_whose_workflow_has_died_before_does_not_start(tmp_path, capsys, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    monkeypatch.setenv("PIPELINE_WORKFLOW", str(process.pid))
    with pytest.raises(SystemExit) as ended, stage("test", tmp_path, None):
        (tmp_path / "started").write_text("")
    assert ended.value.code == 128 + signal.SIGTERM
    assert not (tmp_path / "started").exists()


def test_a_full_disk_does_not_end_a_stage_where_its_log_is(tmp_path, capsys):
    with stage("test", tmp_path, Path("/dev/full")):
        print("a line")
    assert capsys.readouterr().out == "a line\n"
    assert read_json(tmp_path / "record.json")["stage"] == "test"


def test_what_killed_writers_left_is_removed(tmp_path):
    (tmp_path / ".record.json.7.partial").write_text("half")
    with stage("test", tmp_path, None):
        pass
    assert not list(tmp_path.glob(".*.partial"))
