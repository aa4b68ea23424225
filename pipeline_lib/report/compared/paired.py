"""Whether the other settings are really worse than the best one.

Without repetitions a paired bootstrap: the difference of two runs on skeletons drawn anew, the same in both. That is what
metrics.compare_skeleton_scores does for one volume; of several volumes the mean is taken. It says nothing about another seed.

With repetitions the difference of the two means has two sources of chance: which skeletons were traced (the bootstrap, over the
means of the repetitions) and which seeds or folds were taken (a t-interval, paired where both settings have the same ones,
otherwise by the pooled variance of both). The margins of both are added as squares (as Zou and Donner 2008 do, doi:10.1002/
sim.3095); that holds the level whichever of the two is the larger, which Welch's degrees of freedom do not with two or three
repetitions.

Several comparisons with one best are corrected by the method of Holm (1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from pipeline_lib.report.compared.draws import Drawn, draw_scores
from pipeline_lib.report.compared.groups import Group, Sweep
from pipeline_lib.report.compared.measures import Interval, Measure
from pipeline_lib.report.compared.swept import canonical, value_of

SIGNIFICANT = 0.05
_ROUNDING = 1e-9  # of the same score, computed in another order
_SMALLEST_P = 1e-9


@dataclass(frozen=True)
class Difference:
    """A score of another group less that of the best one.

    ci95, p: None where nothing can be concluded, which `reason` explains. p_holm: corrected for all comparisons with the best.
    """

    group: Group
    measure: Measure
    value: float | None
    ci95: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    reason: str = ""

    @property
    def verdict(self) -> str:
        """In plain words, by the interval alone and then by the corrected p."""
        if self.ci95 is None or self.p_holm is None or self.value is None:
            return f"no conclusion: {self.reason}"
        if self.ci95[0] <= 0 <= self.ci95[1]:
            return "no conclusion"
        word = "better" if (self.value > 0) == self.measure.more_is_better else "worse"
        return word if self.p_holm < SIGNIFICANT else f"{word}, if alone"

    @property
    def is_sure(self) -> bool:
        return self.verdict in ("better", "worse")


def differences_to_best(sweep: Sweep, split: str, measure: Measure, drawn: Drawn | None = None) -> list[Difference]:
    """One for each other group, in their order; none without a best group. drawn: of all runs of the sweep on this split."""
    best = sweep.best
    if best is None:
        return []
    test = _Test(sweep, split, measure, draw_scores(sweep.runs, split) if drawn is None else drawn)
    return corrected([test.difference(group, best) for group in sweep.groups if group is not best])


@dataclass(frozen=True)
class _Test:
    sweep: Sweep
    split: str
    measure: Measure
    drawn: Drawn

    def difference(self, group: Group, best: Group) -> Difference:
        found = [one.estimate(self.split, self.measure) for one in (group, best)]
        if found[0] is None or found[1] is None:
            return Difference(group, self.measure, None, reason=f"no {self.measure.title} on {self.split}")
        a, b = self.rows(group), self.rows(best)
        if {scored for i in a for scored in self.drawn.volumes[i]} != {scored for i in b for scored in self.drawn.volumes[i]}:
            reason = "scored on other volumes or skeletons, or at another merge tolerance"
            return Difference(group, self.measure, None, reason=reason)
        value = found[0].value - found[1].value
        if not self.drawn.n_free[[*a, *b]].all():
            return Difference(group, self.measure, value, reason="fewer than two skeletons with edges")
        scores = self.drawn.scores[self.measure]
        change = scores[a].mean(axis=0) - scores[b].mean(axis=0)
        change = change[~np.isnan(change)]
        change[np.abs(change) <= _ROUNDING] = 0.0
        if len(a) == len(b) == 1:
            low, high = np.percentile(change, [2.5, 97.5])
            return Difference(
                group, self.measure, value, (float(low), float(high)), bootstrap_p(change, int(self.drawn.n_free[a[0]]))
            )
        ci95, p = interval_of_sum(value, float(change.var()), *self.variance_of_repetitions(group, best))
        return Difference(group, self.measure, value, ci95, p)

    def rows(self, group: Group) -> list[int]:
        """Of the runs of the group among those of the sweep."""
        before = self.sweep.groups[: self.sweep.groups.index(group)]
        first = sum(len(other.runs) for other in before)
        return list(range(first, first + len(group.runs)))

    def variance_of_repetitions(self, a: Group, b: Group) -> tuple[float, float]:
        """Of the difference of two means, and its degrees of freedom."""
        told = [self.by_repetition(group) for group in (a, b)]
        if told[0].keys() == told[1].keys() and len(told[0]) == len(a.runs) == len(b.runs):
            change = [told[0][key] - told[1][key] for key in told[0]]
            return float(np.var(change, ddof=1)) / len(change), len(change) - 1
        return pooled_variance([np.array(group.values(self.split, self.measure)) for group in (a, b)])

    def by_repetition(self, group: Group) -> dict[str, float]:
        """The score of each run by its seed or fold."""
        repeated, base = self.sweep.repeated, self.sweep.base
        keys = [", ".join(canonical(value_of(run.run, path, base)) for path in repeated) for run in group.runs]
        return dict(zip(keys, group.values(self.split, self.measure), strict=True))


def bootstrap_p(change: np.ndarray, freedom: int) -> float:
    """Two-sided, from the draws on the rarer side of 0.

    Where none is there, which only says that p is small, from the tail of a t distribution with the spread of the draws.
    """
    rarer = min(np.count_nonzero(change <= 0), np.count_nonzero(change >= 0))
    p = min(1.0, 2 * (rarer + 1) / (len(change) + 1))
    spread = float(change.std())
    if rarer == 0 and spread > 0:
        p = min(p, max(_SMALLEST_P, 2 * float(stdtr(freedom, -abs(float(change.mean())) / spread))))
    return p


def interval_of_sum(value: float, known: float, variance: float, freedom: float) -> tuple[Interval, float]:
    """95 % interval and two-sided p of a value with a known variance and one estimated with some degrees of freedom."""

    def margin(level: float) -> float:
        return math.hypot(
            float(ndtri(1 - level / 2)) * math.sqrt(known), float(stdtrit(freedom, 1 - level / 2)) * math.sqrt(variance)
        )

    half = margin(SIGNIFICANT)
    low, high = _SMALLEST_P, 1.0  # p is the level at which the interval ends at 0
    while high / low > 1 + _ROUNDING:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if margin(middle) >= abs(value) else (low, middle)
    return (value - half, value + half), high


def pooled_variance(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Of the difference of the means of two samples of equal variance, one of which may be a single value."""
    freedom = sum(len(sample) - 1 for sample in values)
    within = sum(float(((sample - sample.mean()) ** 2).sum()) for sample in values) / freedom
    return within * sum(1 / len(sample) for sample in values), freedom


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """With the p-values of Holm over all that have one."""
    known = [i for i, difference in enumerate(differences) if difference.p is not None]
    adjusted = holm([p for i in known if (p := differences[i].p) is not None])
    found = list(differences)
    for i, p in zip(known, adjusted, strict=True):
        found[i] = replace(found[i], p_holm=p)
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm 1979: the k-th smallest of m times m - k + 1, none smaller than one before it, none above 1."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * np.arange(len(order), 0, -1)))
    return [float(p) for p in adjusted]
