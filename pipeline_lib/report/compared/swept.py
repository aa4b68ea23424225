"""What a sweep varies: the value that each run has of a setting, and in what it differs from the base."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline_lib.report.compared.runs import ComparedRun
from pipeline_lib.settings.stages import flattened

MISSING = object()  # of a setting that a run does not have


def value_of(run: ComparedRun, path: str, base: Mapping[str, Any]) -> Any:
    """What the sweep sets, or else what the settings of the run say, or else those of the base; MISSING where none does."""
    if path in run.changed:
        return run.changed[path]
    for settings in (run.contents.settings, base):
        found = looked_up(settings, path)
        if found is not MISSING:
            return found
    return MISSING


def looked_up(settings: Mapping[str, Any], path: str) -> Any:
    found: Any = settings
    for key in path.split("."):
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif isinstance(found, Sequence) and not isinstance(found, str) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return MISSING
    return found


def canonical(value: Any) -> str:
    """Equal for equal values: 1 and 1.0 are, the text "1" and the number 1 are not."""
    if value is MISSING:
        return ""
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value, sort_keys=True, ensure_ascii=False)


def told(value: Any) -> str:
    """As it is read on the page."""
    if value is MISSING:
        return "\u2013"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def swept_paths(runs: Iterable[ComparedRun], base: Mapping[str, Any]) -> list[str]:
    """Settings that the sweep sets to more than one value, in the order in which they are first told."""
    runs = list(runs)
    paths = dict.fromkeys(path for run in runs for path in run.changed)
    return [path for path in paths if len({canonical(value_of(run, path, base)) for run in runs}) > 1]


def differences(runs: Sequence[ComparedRun], base: Mapping[str, Any]) -> dict[str, tuple[Any, list[Any]]]:
    """Path -> value in the base, values in all runs, of every setting that some run has other than the base."""
    of_base = flattened(base)
    of_runs = [flattened(run.contents.settings) | run.changed for run in runs]
    paths = dict.fromkeys([*(path for run in runs for path in run.changed), *of_base, *(p for own in of_runs for p in own)])
    found = {}
    for path in paths:
        before = of_base.get(path, looked_up(base, path))
        values = [own.get(path, MISSING) for own in of_runs]
        if any(canonical(value) != canonical(before) for value in values):
            found[path] = (before, values)
    return found
