"""The runs of a project folder: which results belong to which, what may go, and its removal."""

from __future__ import annotations

import os
import re
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline_lib.artefacts.atomic import read_json, write_json
from pipeline_lib.artefacts.complete import changing
from pipeline_lib.artefacts.lock import Lock
from pipeline_lib.errors import UserError
from pipeline_lib.settings import identity
from pipeline_lib.settings.paths import Paths
from pipeline_lib.settings.project import Project
from pipeline_lib.settings.stages import flattened, science

KINDS = ("volumes", "models", "predictions", "sweeps", "segmentations", "evaluations")
_ID = re.compile(r".+-[0-9a-f]{8}")
_REMOVED = ".removed"  # what is being deleted, out of the way of any reader


@dataclass(frozen=True)
class Artefact:
    """One id of a project folder.

    needed: by a current config. state: "complete", "partial", or "unknown" where no run on record has it. differs: the settings
    in which all its runs on record differ from the first current config.
    """

    folder: Path
    kind: str
    size_bytes: int
    changed_s: float
    needed: bool
    state: str
    differs: str

    @property
    def name(self) -> str:
        return self.folder.name


def record_run(project: Project) -> None:
    """Write `runs/<evaluation id>.json`: the settings of a run and the last file of each of its results."""
    paths = Paths(project)
    record = {"schema": 1, "settings": science(project), "last_files": _relative(paths)}
    write_json(Path(paths.folder) / "runs" / f"{identity.evaluation_id(project)}.json", record)


def forget_future(project: Project) -> None:
    """Results that were written while the clock was ahead get the time of now: else they would be newer than what follows
    from them, and the workflow would make that again, each time."""
    now_s = time.time()
    for path in map(Path, Paths(project).last_files()):
        if path.exists() and path.stat().st_mtime > now_s:
            os.utime(path)


def list_artefacts(current: Sequence[Project]) -> list[Artefact]:
    """All ids in the folder of these configs, which must be of one project; UserError otherwise."""
    folder = _folder_of(current)
    needed = [_relative(Paths(project)) for project in current]
    compared = [file for project in current for file in _compared(project, folder)]
    recorded = [read_json(path) for path in sorted((folder / "runs").glob("*.json"))]
    base = flattened(science(current[0]))
    runs = [(record["last_files"], _differences(record["settings"], base)) for record in recorded]
    runs += [(files, _differences(science(project), base)) for files, project in zip(needed, current, strict=True)]
    found = []
    for kind in KINDS:
        ids = sorted(path for path in (folder / kind).glob("*") if path.is_dir() and _ID.fullmatch(path.name))
        for path in ids:
            inside = f"{kind}/{path.name}/"
            holding = [([f for f in files if f.startswith(inside)], differs) for files, differs in runs]
            holding = [(files, differs) for files, differs in holding if files]
            size_bytes, changed_s = _measured(path)
            found.append(
                Artefact(
                    folder=path,
                    kind=kind,
                    size_bytes=size_bytes,
                    changed_s=changed_s,
                    needed=any(file.startswith(inside) for file in [*chain(*needed), *compared]),
                    state=_state(folder, [files for files, _ in holding]),
                    differs=", ".join(sorted(set.intersection(*(differs for _, differs in holding)))) if holding else "",
                )
            )
    return found


def prune(current: Sequence[Project], *, show: Callable[[list[Artefact]], None] = lambda artefacts: None) -> list[Artefact]:
    """Delete every id that no current config needs, and the records of runs that lose any; returns what is gone.

    show: is given all ids, as `list_artefacts` does, before any is deleted; exactly those of them that are not needed go.

    UserError while a workflow runs in the folder, or a stage in what would go; then nothing is deleted. Nothing outside the
    folders of ids is touched. Killed half way, the next call goes on: an id leaves its place before it is deleted.
    """
    folder = _folder_of(current)
    with Lock(folder, what="runs --prune"), ExitStack() as unused:
        trash = folder / _REMOVED
        shutil.rmtree(trash, ignore_errors=True)
        found = list_artefacts(current)
        show(found)
        gone = [artefact for artefact in found if not artefact.needed]
        _allow_open_files()
        for artefact in gone:  # a stage may have outlived its workflow
            for lock in artefact.folder.rglob(".lock"):
                unused.enter_context(Lock(lock.parent, what="runs --prune"))
        with changing(folder):
            _forget_runs(folder, gone)
            for artefact in gone:
                aside = trash / artefact.kind / artefact.name
                aside.parent.mkdir(parents=True, exist_ok=True)
                artefact.folder.rename(aside)
        shutil.rmtree(trash, ignore_errors=True)
    return gone


def _allow_open_files() -> None:
    """As many as the system lets a process have: there may be more locks than it has by default."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _forget_runs(folder: Path, gone: Sequence[Artefact]) -> None:
    lost = tuple(f"{artefact.kind}/{artefact.name}/" for artefact in gone)
    for record in (folder / "runs").glob("*.json"):
        if any(file.startswith(lost) for file in read_json(record)["last_files"]):
            record.unlink()


def _folder_of(current: Sequence[Project]) -> Path:
    folders = sorted({Paths(project).folder for project in current})
    if len(folders) != 1:
        raise UserError(f"the configs must share one project folder, got {', '.join(folders) or 'none'}")
    return Path(folders[0])


def _relative(paths: Paths) -> list[str]:
    return [str(Path(file).relative_to(paths.folder)) for file in paths.last_files()]


def _compared(project: Project, folder: Path) -> list[str]:
    """What evaluations are compared with, as far as it lies in `folder`, relative to that."""
    if project.evaluation.against is None:
        return []
    path = Path(project.evaluation.against, "metrics.json").resolve()
    return [str(path.relative_to(folder.resolve()))] if path.is_relative_to(folder.resolve()) else []


def _state(folder: Path, runs: list[list[str]]) -> str:
    if not runs:
        return "unknown"
    return "complete" if any(all((folder / file).exists() for file in files) for files in runs) else "partial"


def _measured(folder: Path) -> tuple[int, float]:
    """Bytes of all files, and when the last of them was changed."""
    found = [path.lstat() for path in folder.rglob("*") if not path.is_dir()]
    return sum(f.st_size for f in found), max((f.st_mtime for f in found), default=time.time())


def _differences(settings: dict[str, Any], base: dict[str, Any]) -> set[str]:
    own = flattened(settings)
    changed = {f"{key}={value}" for key, value in own.items() if base.get(key, ...) != value}
    return changed | {f"without {key}" for key in base.keys() - own.keys()}
