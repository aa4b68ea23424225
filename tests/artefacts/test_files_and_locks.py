import errno
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pipeline_lib.artefacts import Lock, measured, read_json, replacing, write_json
from pipeline_lib.artefacts.atomic import remove_leftovers
from pipeline_lib.errors import UserError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "with space's" / "choice.json"
    write_json(path, {"threshold": 0.5})
    with pytest.raises(ZeroDivisionError), replacing(path) as aside:
        aside.write_text(f"half {1 / 0}")
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"threshold": float("nan")})
    assert read_json(path) == {"threshold": 0.5}
    assert list(path.parent.iterdir()) == [path]


def test_several_writers_of_a_file_do_not_meet(tmp_path, monkeypatch):
    """As processes of one number on two hosts."""
    monkeypatch.setattr("os.getpid", lambda: 7)
    path = tmp_path / "rows.npy"
    with replacing(path) as one:
        one.write_text("the same")
        with replacing(path) as other:
            other.write_text("the same")
        assert (one.exists(), other.exists()) == (True, False)
    assert path.read_text() == "the same"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_found(tmp_path):
    with replacing(tmp_path / "deep" / "rows.npy") as aside:
        aside.write_text("half")
        remove_leftovers(tmp_path)
        assert list(tmp_path.rglob("*.*")) == []
        aside.write_text("whole")


def test_a_folder_that_cannot_be_made_is_one_clear_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/choice.json"):
        write_json(tmp_path / "file" / "choice.json", {})
    with pytest.raises(UserError, match="cannot write in"), Lock(tmp_path / "file" / "folder", what="test"):
        pass


def test_broken_json_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot read .*x\.json"):
        read_json(tmp_path / "x.json")


def test_a_lock_has_one_owner_and_is_released_by_its_death(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from pipeline_lib.artefacts import Lock\n"
        "with Lock(Path(sys.argv[1]), what='the first run'):\n    print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match=rf"in use by the first run, process {owner.pid}"), Lock(tmp_path, what="second"):
            pass
        owner.kill()
        with Lock(tmp_path, what="second", patience_s=10):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_one_clear_message(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.fcntl", refuse)
    message = f"cannot lock {tmp_path}: {os.strerror(number)}; its file system keeps no locks of files: put it on one that does"
    with pytest.raises(UserError, match=re.escape(message)), Lock(tmp_path, what="test", patience_s=10):
        pass


def test_a_stage_measures_its_own_memory(tmp_path):
    with measured("test", tmp_path / "record.json"):
        block = bytearray(200_000_000)
        del block
    record = read_json(tmp_path / "record.json")
    assert record["peak_memory_mb"] > 200
    assert 0 <= record["wall_s"] < 60
    assert record["stage"] == "test"
    assert record["processor"]


def test_memory_is_told_in_millions_of_bytes(tmp_path, monkeypatch):
    """Linux counts in units of 1024 bytes."""
    monkeypatch.setattr("resource.getrusage", lambda who: SimpleNamespace(ru_maxrss=500_000))
    with measured("test", tmp_path / "record.json"):
        pass
    assert read_json(tmp_path / "record.json")["peak_memory_mb"] == 512.0


def test_a_failed_stage_leaves_no_record(tmp_path):
    with pytest.raises(RuntimeError), measured("test", tmp_path / "record.json"):
        raise RuntimeError
    assert not (tmp_path / "record.json").exists()
