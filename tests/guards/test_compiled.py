import os
import subprocess
import sys
import tempfile
import time

import pytest

from pipeline_lib import compiled
from pipeline_lib.compiled import VARIABLE, keep_compiled_code_local


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """An empty temporary folder of the machine, and no cache folder set."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(VARIABLE, "")
    return tmp_path


def test_a_private_folder_of_this_machine(temporary):
    keep_compiled_code_local()
    (folder,) = temporary.iterdir()
    assert os.environ[VARIABLE] == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    keep_compiled_code_local()
    assert os.environ[VARIABLE] == str(folder)


def test_what_the_user_has_set_stays(temporary, monkeypatch):
    monkeypatch.setenv(VARIABLE, "/elsewhere")
    keep_compiled_code_local()
    assert os.environ[VARIABLE] == "/elsewhere"
    assert not list(temporary.iterdir())


def test_what_a_job_inherits_from_another_machine_is_made_anew(temporary, monkeypatch):
    monkeypatch.setenv(VARIABLE, "/of/another/machine/em-pipeline-compiled-0-00000000")
    keep_compiled_code_local()
    (folder,) = temporary.iterdir()
    assert os.environ[VARIABLE] == str(folder)


@pytest.mark.parametrize("trap", ["open to others", "a link", "a file"])
def test_a_folder_that_others_could_have_filled_is_not_used(temporary, trap):
    keep_compiled_code_local()
    (folder,) = temporary.iterdir()
    folder.rmdir()
    if trap == "open to others":
        folder.mkdir()
        folder.chmod(0o777)
    elif trap == "a link":
        (temporary / "theirs").mkdir(mode=0o700)
        folder.symlink_to(temporary / "theirs")
    else:
        folder.write_text("")
    with pytest.warns(UserWarning, match=f"{folder} is no private folder, .*; set NUMBA_CACHE_DIR"):
        keep_compiled_code_local()
    assert VARIABLE not in os.environ


def test_changed_source_has_a_folder_of_its_own(temporary, monkeypatch):
    package = temporary / "package"
    package.mkdir()
    (package / "callee.py").write_text("ONE = 1\n")
    monkeypatch.setattr(compiled, "__file__", str(package / "compiled.py"))
    folders = []
    for text in ("ONE = 1\n", "ONE = 10\n"):
        (package / "callee.py").write_text(text)
        keep_compiled_code_local()
        folders.append(os.environ[VARIABLE])
    assert folders[0] != folders[1]


@pytest.mark.slow
def test_many_processes_that_compile_at_once_and_one_that_is_killed(tmp_path):
    code = """
import numpy as np
from pipeline_lib.components import label_components
affinities = np.zeros((3, 2, 3, 4), np.uint8)
affinities[2] = 255
print(label_components(affinities, 0.5).ravel().tolist())
"""
    environment = {**os.environ, VARIABLE: str(tmp_path / "compiled")}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(5)
    ]
    while started[0].poll() is None and not list(tmp_path.rglob("*.nbc")):
        time.sleep(0.01)
    started[0].kill()
    expected = str([i for i in range(1, 7) for _ in range(4)])
    for process in [
        *started[1:],
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True),
    ]:
        out, _ = process.communicate(timeout=300)
        assert (process.returncode, out.strip()) == (0, expected)
    for process in started[:1]:
        process.communicate()
