"""Whether a segmentation is better than another one of the same volume."""

from __future__ import annotations

from pipeline_lib.report.contents import VolumeResult
from pipeline_lib.report.html import Html, caption, element, joined, table
from pipeline_lib.report.units import decimal, interval, signed

_MEASURES = (("nerl", "NERL (more is better)"), ("voi_sum", "VOI split + merge at skeleton nodes, bits (less is better)"))
_NOTE = """Difference: this segmentation less the other one. Both are scored on the same skeletons, which are drawn anew
together: the interval holds 95 % of the differences, the share says in how many draws this segmentation is better. Where the
interval contains 0, neither may be called better."""


def comparison_parts(result: VolumeResult) -> list[Html]:
    """The paired comparison in metrics.json as verdict and table; nothing where there is none."""
    told = result.metrics.get("comparison") if result.metrics else None
    if not told:
        return []
    rows = [
        [
            title,
            signed(told[name]["difference"], 3),
            interval(told[name]["ci95"], lambda end: signed(end, 3)),
            f"{decimal(100 * told[name]['share_better'], 0)} %",
        ]
        for name, title in _MEASURES
        if told.get(name)
    ]
    verdict = joined([element("b", "Against "), element("code", told["against"]), f": {told['verdict']}"], "")
    header = ("measure", "difference", "95 % interval", "draws in which this is better")
    return [element("p", verdict), table(header, rows), caption(_NOTE)]
