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
from pipeline_lib.settings.project import Ensemble, Project
from pipeline_lib.settings.stages import flattened, science
from pipeline_lib.settings.sweep import Changed, Folds, SweepSettings, names_of

REPETITIONS = ("seed", "fold")  # runs that differ in nothing else repeat one another
_MOST_CHARACTERS = 80  # of a folder's name that people read


@dataclass(frozen=True)
class Variant:
    """One run of an experiment.

    name: by what varies, "" for a single run. changed: what the sweep sets, by dotted paths, and the number of the "fold", or
    "mean" for the ensemble of all folds. repeats: a name without what makes a mere repetition, the same for all that repeat one
    another.
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
    told = content.pop("sweep", None)
    if told is None:
        base = parse_project(content, where=where)
        return Experiment(base, (Variant(base),))
    sweep: SweepSettings = parse(SweepSettings, told, where=f"{where}: sweep")
    base = parse_project(_in_fold(content, sweep.folds, 0, where), where=where)
    projects, set_, shown = [], [], []
    for changed in sweep.variants():
        for project, fold in _projects(content, changed, sweep.folds, where):
            projects.append(project)
            set_.append({**_resolved(changed, project), **fold})
            shown.append({**changed, **fold})
    repeated = [name or "base" for name in names_of([_without_repetition(changed) for changed in shown])]
    return Experiment(base, tuple(map(Variant, projects, names_of(shown), set_, repeated)))


def _projects(content: dict[str, Any], changed: Changed, folds: Folds | None, where: str) -> list[tuple[Project, Changed]]:
    """A run, or one for each fold and one for all of them, and what to call each."""
    where = f"{where}, run {names_of([changed])[0]}" if changed else where
    if "project" in changed:
        raise UserError(f"{where}: the project is one folder for all runs and cannot vary")
    content = with_dotted_keys({**content, **changed}, where)
    projects = [
        parse_project(_in_fold(content, folds, fold, where), where=where) for fold in range(folds.count if folds else 1)
    ]
    _check_science(projects[0], changed, where)
    if folds is None:
        return [(projects[0], {})]
    found: list[tuple[Project, Changed]] = [(project, {"fold": fold + 1}) for fold, project in enumerate(projects)]
    if folds.ensemble and projects[0].volumes_of("test"):
        found.append((Ensemble.of(projects), {"fold": "mean"}))
    return found


def _in_fold(content: dict[str, Any], folds: Folds | None, fold: int, where: str) -> dict[str, Any]:
    volumes = content.get("volumes")
    if folds is None or not isinstance(volumes, dict) or not all(isinstance(told, dict) for told in volumes.values()):
        return content  # what is wrong with it is said where it is parsed
    try:
        return {**content, "volumes": folds.divided(volumes, fold)}
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _without_repetition(changed: Changed) -> Changed:
    return {path: value for path, value in changed.items() if path not in REPETITIONS or value == "mean"}


def _check_science(project: Project, changed: Changed, where: str) -> None:
    known = flattened(science(project))
    for path in changed:
        if not any(key == path or key.startswith(f"{path}.") for key in known):
            raise UserError(f"{where}: {path} says how results are computed and not what, so all runs would be the same")


def _resolved(changed: Changed, project: Project) -> Changed:
    """Values as the settings understand them: YAML takes 1e-3 for a text."""
    known = flattened(science(project))
    return {path: known.get(path, value) for path, value in changed.items()}
