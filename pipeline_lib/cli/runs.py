"""The results of a project: listed as a table for the terminal, and removed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.artefacts.runs import Artefact, list_artefacts
from pipeline_lib.artefacts.runs import prune as prune_artefacts
from pipeline_lib.settings import load_experiment

_HEADER = ("", "result", "state", "size", "age", "set otherwise than in the first config")
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def runs(
    configs: Annotated[list[Path], typer.Argument(help="All current configs of a project; what none of them needs can go.")],
    prune: Annotated[bool, typer.Option("--prune", help="Delete what no current config needs, after listing it.")] = False,
) -> None:
    """List every result of a project: its size and age, what it was made with, and whether a config needs it."""
    projects = [run.project for path in configs for run in load_experiment(path).runs]
    if not prune:
        _show(list_artefacts(projects))
        return
    gone = prune_artefacts(projects, show=_show)
    typer.echo(f"deleted {len(gone)} results, {sum(artefact.size_bytes for artefact in gone) / 1e6:.1f} MB")


def _show(artefacts: Sequence[Artefact]) -> None:
    typer.echo(runs_table(artefacts))


def runs_table(artefacts: Sequence[Artefact]) -> str:
    """One line for each result, those that no config needs marked with a minus; sums at the end."""
    now = time.time()
    rows = [_HEADER]
    for found in artefacts:
        mark, name = "" if found.needed else "-", f"{found.kind}/{found.name}"
        rows.append((mark, name, found.state, _size(found.size_bytes), _age(now - found.changed_s), found.differs))
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    right = (3, 4)
    lines = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    unneeded = [found for found in artefacts if not found.needed]
    total, may_go = (_size(sum(found.size_bytes for found in some)) for some in (artefacts, unneeded))
    end = f"{len(artefacts)} results, {total}; {len(unneeded)} of them, {may_go}, are needed by no config given (-)"
    return "\n".join([*(line.rstrip() for line in lines), end])


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _age(seconds: float) -> str:
    for unit_s, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
