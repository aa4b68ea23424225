"""The benchmarks run, on sizes that say nothing about speed."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def figures(name, *arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_inference():
    said = json.loads(figures("inference.py", "--shape", "32", "40", "40", "--patch", "32", "32", "32"))
    assert said["forward_calls"] == said["forward_calls_whole_volume"] == 4
    assert said["wall_ratio"] > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("components.py", ["--size", "48", "--points", "500", "--threads", "1"]),
        ("joining.py", ["--pairs", "100000", "--blocks-along", "3"]),
        ("metrics.py", ["--skeletons", "200"]),
    ],
)
def test_those_with_a_peer_of_their_own(tmp_path, name, arguments):
    figures(name, *arguments, "--json", str(tmp_path / "figures.json"))
    text = (tmp_path / "figures.json").read_text()
    numbers = [value for value in _leaves(json.loads(text)) if isinstance(value, float)]
    assert numbers
    assert all(math.isfinite(number) for number in numbers)


def _leaves(content):
    if isinstance(content, dict):
        content = list(content.values())
    return [leaf for part in content for leaf in _leaves(part)] if isinstance(content, list) else [content]
