"""From a config with a sweep to its runs; one without is a single run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline_lib.errors import UserError
from pipeline_lib.settings import identity
from pipeline_lib.settings.load import load_content, parse, parse_project, with_dotted_keys
from pipeline_lib.settings.paths import Paths
from pipeline_lib.settings.project import Project
from pipeline_lib.settings.stages import flattened, science
from pipeline_lib.settings.sweep import Changed, SweepSettings, names_of

REPETITION = ("seed",)  # runs that differ in nothing else repeat one another
_MOST_CHARACTERS = 80  # of a folder's name that people read


@dataclass(frozen=True)
class Variant:
    """One run of an experiment.

    name: by what varies, "" for a single run. changed: what the sweep sets, by dotted paths. repeats: a name without what makes
    a mere repetition, the same for all runs that repeat one another.
    """

    project: Project
    name: str = ""
    changed: Changed = field(default_factory=dict)
    repeats: str = ""

    @property
    def page(self) -> str:
        """The folder of this run's report page below that of all runs, with a slash at its end; "" for a single run."""
        if not self.name:
            return ""
        plain = re.sub(r"[^A-Za-z0-9=._+-]+", "_", self.name.replace(" ", "+"))
        if plain != self.name.replace(" ", "+") or len(plain) > _MOST_CHARACTERS:
            plain = f"{plain[:_MOST_CHARACTERS]}-{identity.digest(self.changed)}"
        return f"runs/{plain}/"


@dataclass(frozen=True)
class Experiment:
    """All runs of a config. base: its settings without the sweep."""

    base: Project
    runs: tuple[Variant, ...]

    @property
    def is_sweep(self) -> bool:
        return bool(self.runs[0].name)

    def executions(self) -> dict[str, int]:
        """How many different results each stage makes, what runs have in common counted once; stages without any left out."""
        made: dict[str, set[str]] = {}
        for run in self.runs:
            for stage, files in Paths(run.project).by_stage().items():
                made.setdefault(stage, set()).update(files)
        return {stage: len(files) for stage, files in made.items() if files}

    def digest(self) -> str:
        """Stands for what all runs compute, and for what they are called."""
        told = [[run.name, identity.evaluation_id(run.project)] for run in self.runs]
        return identity.digest(science(self.base), told)

    def summary(self) -> str:
        """One line: how many runs there are, and how much they have in common."""
        counts = ", ".join(f"{stage} {n}" for stage, n in self.executions().items())
        return f"sweep: {len(self.runs)} runs of {self.base.project}; what they share is made once: {counts}"


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Settings of a YAML file; `overrides` are `dotted.key=value` with the value in YAML. Mistakes are a UserError."""
    return parse_experiment(load_content(path, overrides), where=str(path))


def parse_experiment(content: dict[str, Any], *, where: str = "config") -> Experiment:
    """Settings from nested dictionaries, dotted keys among them. Mistakes are a UserError that names the run."""
    content = with_dotted_keys(content, where)
    sweep = content.pop("sweep", None)
    base = parse_project(content, where=where)
    if sweep is None:
        return Experiment(base, (Variant(base),))
    variants = list(parse(SweepSettings, sweep, where=f"{where}: sweep").variants())
    names = names_of(variants)
    projects = [_project(content, changed, f"{where}, run {name}") for name, changed in zip(names, variants, strict=True)]
    resolved = [_resolved(changed, project) for changed, project in zip(variants, projects, strict=True)]
    repeated = names_of([{path: value for path, value in changed.items() if path not in REPETITION} for changed in variants])
    runs = zip(projects, names, resolved, repeated, strict=True)
    return Experiment(base, tuple(Variant(project, name, changed, group or "base") for project, name, changed, group in runs))


def _project(content: dict[str, Any], changed: Changed, where: str) -> Project:
    if "project" in changed:
        raise UserError(f"{where}: the project is one folder for all runs and cannot vary")
    project = parse_project({**content, **changed}, where=where)
    known = flattened(science(project))
    for path in changed:
        if not any(key == path or key.startswith(f"{path}.") for key in known):
            raise UserError(f"{where}: {path} says how results are computed and not what, so all runs would be the same")
    return project


def _resolved(changed: Changed, project: Project) -> Changed:
    """Values as the settings understand them: YAML takes 1e-3 for a text."""
    known = flattened(science(project))
    return {path: known.get(path, value) for path, value in changed.items()}
