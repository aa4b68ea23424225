"""pyproject.toml, requirements.lock and environment.yml speak of the same packages."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"pytorch-gpu": "torch", "matplotlib-base": "matplotlib", "snakemake-minimal": "snakemake"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed() -> dict[str, Requirement]:
    return {canonical(r.name): r for r in map(Requirement, PROJECT["dependencies"])}


def test_the_lock_satisfies_every_requirement():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")]
    locked = {canonical(r.name): r for r in map(Requirement, lines)}
    for requirement in [*needed().values(), *map(Requirement, EXTRAS["test"])]:
        assert canonical(requirement.name) in locked, f"{requirement.name} is not in requirements.lock"
        (pin,) = locked[canonical(requirement.name)].specifier
        assert pin.operator == "=="
        assert Version(pin.version) in requirement.specifier
    assert str(locked["torch"].specifier) == "==2.13.0"


def test_the_conda_environment_asks_for_the_same():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    from_pip = next(d["pip"] for d in dependencies if isinstance(d, dict))
    from_conda = [re.sub(r"^([^<>=]+)=([^=].*)$", r"\1==\2.*", d) for d in dependencies if isinstance(d, str)]
    found = {canonical(CONDA_NAMES.get(r.name, r.name)): r for r in map(Requirement, [*from_conda, *from_pip])}
    for name, requirement in needed().items():
        assert name in found, f"{name} is not in environment.yml"
        assert found[name].specifier == requirement.specifier, name
    assert set(found) - set(needed()) == {"python", "pip", "git", "funlib-evaluate"}
    assert found["funlib-evaluate"].url == Requirement(EXTRAS["verify"][0]).url
