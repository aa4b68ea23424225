"""How sure skeleton scores are: intervals over skeletons drawn anew, and whether one segmentation is better than another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pipeline_lib.errors import UserError

N_DRAWS = 1000
_ROUNDING = 1e-9  # of the same score, computed in another order
_WEIGHTS_AT_ONCE = 1 << 22

Interval = tuple[float, float]


class ScoredSkeletons(Protocol):
    """What is known of each of S skeletons; SkeletonScores, where the fields are defined, or SkeletonTable."""

    @property
    def merge_tolerance(self) -> float: ...
    @property
    def skeleton_ids(self) -> np.ndarray: ...
    @property
    def skeleton_length_nm(self) -> np.ndarray: ...
    @property
    def skeleton_erl_nm(self) -> np.ndarray: ...
    @property
    def skeleton_max_erl_nm(self) -> np.ndarray: ...
    @property
    def skeleton_n_nodes(self) -> np.ndarray: ...
    @property
    def skeleton_voi_split(self) -> np.ndarray: ...
    @property
    def skeleton_voi_merge(self) -> np.ndarray: ...


@dataclass(frozen=True)
class SkeletonTable:
    """The fields of SkeletonScores that are about single skeletons, as they come back from a table on disk."""

    merge_tolerance: float
    skeleton_ids: np.ndarray
    skeleton_length_nm: np.ndarray
    skeleton_erl_nm: np.ndarray
    skeleton_max_erl_nm: np.ndarray
    skeleton_n_nodes: np.ndarray
    skeleton_voi_split: np.ndarray
    skeleton_voi_merge: np.ndarray

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, str]], *, merge_tolerance: float) -> SkeletonTable:
        """From the rows of skeletons.csv; KeyError, TypeError or ValueError where they are not such rows."""
        ids, n_nodes = (np.array([int(row[name]) for row in rows], np.int64) for name in ("skeleton", "n_nodes"))
        length_nm, erl_nm, max_erl_nm, voi_split, voi_merge = (
            np.array([float(row[name]) for row in rows])
            for name in ("length_nm", "erl_nm", "max_erl_nm", "voi_split", "voi_merge")
        )
        return cls(merge_tolerance, ids, length_nm, erl_nm, max_erl_nm, n_nodes, voi_split, voi_merge)


@dataclass(frozen=True)
class BootstrapIntervals:
    """95 % intervals (low, high): percentiles over skeletons drawn with replacement, each with the errors it has now.

    None where fewer than two skeletons have edges: every draw would be the same, which says nothing.
    A skeleton brings along what it adds to the VOI, the sizes of all segments being held as they are.
    """

    nerl: Interval | None
    erl_nm: Interval | None
    voi_split: Interval | None
    voi_merge: Interval | None
    voi_sum: Interval | None


@dataclass(frozen=True)
class PairedDifference:
    """A score of a less that of b. ci95: of the difference over the draws, None as in BootstrapIntervals.

    share_better: of the draws, those in which a is the better one, equal ones counting half.
    """

    difference: float
    ci95: Interval | None
    share_better: float
    more_is_better: bool

    @property
    def verdict(self) -> str:
        """In plain words; no conclusion where the interval contains 0."""
        if self.ci95 is None:
            return f"no conclusion from fewer than two skeletons with edges (difference {self.difference:+.3f})"
        low, high = self.ci95
        told = f"{self.difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
        if low <= 0 <= high:
            return f"no conclusion ({told})"
        return f"{'better' if (low > 0) == self.more_is_better else 'worse'} ({told})"

    def to_json(self) -> dict[str, Any]:
        ci95 = list(self.ci95) if self.ci95 is not None else None
        return {"difference": self.difference, "ci95": ci95, "share_better": self.share_better}


@dataclass(frozen=True)
class PairedComparison:
    """Whether segmentation a is better than b, by their scores on the same skeletons."""

    nerl: PairedDifference
    voi_sum: PairedDifference

    @property
    def verdict(self) -> str:
        return f"NERL {self.nerl.verdict}; VOI sum {self.voi_sum.verdict}"

    def to_json(self) -> dict[str, Any]:
        """As under "comparison" in metrics.json."""
        return {"nerl": self.nerl.to_json(), "voi_sum": self.voi_sum.to_json(), "verdict": self.verdict}


def bootstrap_intervals(scores: ScoredSkeletons, *, n_draws: int = N_DRAWS, seed: int = 0) -> BootstrapIntervals:
    """Draws in which no skeleton has edges are left out (Efron and Tibshirani 1993, percentile method)."""
    if np.count_nonzero(scores.skeleton_max_erl_nm) < 2:
        return BootstrapIntervals(None, None, None, None, None)
    drawn = _drawn_scores(_terms(scores), n_draws, seed)
    return BootstrapIntervals(**{name: _percentiles(values) for name, values in drawn.items()})


def compare_skeleton_scores(
    a: ScoredSkeletons, b: ScoredSkeletons, *, n_draws: int = N_DRAWS, seed: int = 0
) -> PairedComparison:
    """A paired bootstrap: each draw of skeletons is scored in both segmentations.

    UserError where the two are not scored on the same skeletons, or at different merge tolerances.
    """
    _check_same_skeletons(a, b)
    terms = [_terms(scores) for scores in (a, b)]
    found = [_scores_of(one.sum(axis=0, keepdims=True)) for one in terms]
    sure = np.count_nonzero(a.skeleton_max_erl_nm) >= 2
    drawn = [_drawn_scores(one, n_draws, seed) for one in terms]
    differences = {}
    for name, more_is_better in (("nerl", True), ("voi_sum", False)):
        difference = _difference(drawn[0][name], drawn[1][name])
        gain = difference if more_is_better else -difference
        differences[name] = PairedDifference(
            difference=float(_difference(found[0][name], found[1][name])[0]),
            ci95=_percentiles(difference) if sure else None,
            share_better=float(np.mean((np.sign(gain) + 1) / 2)),
            more_is_better=more_is_better,
        )
    return PairedComparison(**differences)


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b, 0 where they differ by no more than the order of summation makes."""
    return np.where(np.isclose(a, b, rtol=_ROUNDING, atol=_ROUNDING), 0.0, a - b)


def _check_same_skeletons(a: ScoredSkeletons, b: ScoredSkeletons) -> None:
    if a.merge_tolerance != b.merge_tolerance:
        raise UserError(
            f"cannot compare scores at merge tolerances {a.merge_tolerance:g} and {b.merge_tolerance:g}; evaluate both with one"
        )
    if not np.array_equal(a.skeleton_ids, b.skeleton_ids):
        only_a, only_b = (np.setdiff1d(i, j) for i, j in ((a.skeleton_ids, b.skeleton_ids), (b.skeleton_ids, a.skeleton_ids)))
        raise UserError(
            f"cannot compare scores of different skeletons: {len(only_a)} of {len(a.skeleton_ids)} are missing in the other, "
            f"which has {len(only_b)} more; evaluate both on the same volume"
        )
    for name, what, unit in (("skeleton_length_nm", "length", " nm"), ("skeleton_n_nodes", "number of nodes", "")):
        here, there = getattr(a, name), getattr(b, name)
        differ = ~np.isclose(here, there, rtol=1e-6, atol=1e-3)
        if differ.any():
            i = int(np.argmax(differ))
            raise UserError(
                f"cannot compare scores of different skeletons: skeleton {a.skeleton_ids[i]} has the {what} "
                f"{here[i]:g}{unit} and {there[i]:g}{unit}; evaluate both on the same volume"
            )


def _terms(scores: ScoredSkeletons) -> np.ndarray:
    """(S, 6) what each skeleton adds to the sums that _scores_of takes."""
    length_nm, n_nodes = scores.skeleton_length_nm, scores.skeleton_n_nodes
    voi = scores.skeleton_voi_split * n_nodes, scores.skeleton_voi_merge * n_nodes
    runs = length_nm * scores.skeleton_erl_nm, length_nm * scores.skeleton_max_erl_nm
    return np.stack([*runs, length_nm, n_nodes, *voi], axis=1)


def _scores_of(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of those of n sums (n, 6) in which a perfect segmentation has a run length."""
    right, perfect, length_nm, n_nodes, split, merge = sums[sums[:, 1] > 0].T
    voi_split, voi_merge = split / n_nodes, merge / n_nodes
    return {
        "nerl": right / perfect,
        "erl_nm": right / length_nm,
        "voi_split": voi_split,
        "voi_merge": voi_merge,
        "voi_sum": voi_split + voi_merge,
    }


def _drawn_scores(terms: np.ndarray, n_draws: int, seed: int) -> dict[str, np.ndarray]:
    return _scores_of(np.concatenate([weights @ terms for weights in draw_weights(len(terms), n_draws, seed)]))


def draw_weights(n: int, n_draws: int = N_DRAWS, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each of n skeletons is drawn, (some draws, n) at a time; the same for the same n and seed."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // n)
    for start in range(0, n_draws, at_once):
        rows = min(at_once, n_draws - start)
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.reshape(-1), minlength=rows * n).reshape(rows, n).astype(float)


def _percentiles(values: np.ndarray) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
