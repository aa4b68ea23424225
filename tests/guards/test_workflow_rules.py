"""What no rule may have."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_retries_are_those_of_the_profile_alone():
    """Those of a rule are multiplied by the workflow inside of a job. Training that submits its jobs itself has none."""
    for path in (ROOT / "workflow").rglob("*"):
        if path.suffix == ".smk" or path.name == "Snakefile":
            told = re.findall(r"^\s*retries:\s*(.*)$", path.read_text(), re.MULTILINE)
            assert set(told) <= {"0 if IS_SUBMITTED else None"}, path
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    assert profile["retries"] > 0
    assert profile["slurm-no-requeue"] is True
    assert not [name for name in profile if "array" in name]


def test_the_profile_for_slurm_speaks_of_rules_that_there_are():
    rules = set()
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        rules |= set(re.findall(r"^rule (\w+):|^use rule \w+ as (\w+) with:", path.read_text(), re.MULTILINE))
    names = {name for pair in rules for name in pair if name}
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    assert set(profile["set-threads"]) | set(profile["set-resources"]) <= names
