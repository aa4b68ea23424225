"""The result of a sweep in a few lines."""

from __future__ import annotations

from pipeline_lib.report.compared.groups import Sweep
from pipeline_lib.report.units import decimal, interval


def headline_text(sweep: Sweep) -> str:
    """Plain lines for a terminal: which setting is best on val by which score."""
    n_runs = len(sweep.runs)
    lines = [f"{sweep.project}: {n_runs} run{'s' if n_runs != 1 else ''}"]
    if sweep.best is None or sweep.decided_by is None:
        return "\n".join([*lines, "  no val volume is scored: no setting is called the best"]) + "\n"
    found = sweep.best.estimate("val", sweep.decided_by)
    if found is not None:
        sure = f" (95 % interval {interval(found.ci95, lambda end: decimal(end, 3))})" if found.ci95 else ""
        lines.append(f"  best {sweep.decided_by.title} on val: {decimal(found.value, 3)}{sure}, {sweep.best.name}")
    return "\n".join(lines) + "\n"
