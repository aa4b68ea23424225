"""What surrounds every stage: log, lock, record, exit codes."""

import subprocess
import sys
import time

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
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}, {str(tmp_path)!r}])"
    with subprocess.Popen([sys.executable, "-c", parent]) as workflow:
        end = time.monotonic() + 60
        while not (tmp_path / "started").exists() and time.monotonic() < end:
            time.sleep(0.02)
        workflow.kill()
    with stage("test", tmp_path, None):  # waits for the lock, which the orphan gives up
        assert (tmp_path / "started").exists()
        assert not (tmp_path / "ended").exists()
