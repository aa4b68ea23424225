"""Many runs from one config: which settings vary, and how."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, model_validator

from pipeline_lib.errors import UserError
from pipeline_lib.settings.base import Settings, setting

Values = Annotated[tuple[Any, ...], setting(min_length=1)]
Changed = dict[str, Any]  # dotted path of a setting -> its value, plain JSON


class Range(Settings):
    """Numbers to draw from evenly; whole ones where both ends are."""

    low: int | float = setting(description="Smallest value.")
    high: int | float = setting(description="Largest value.")
    log: bool = setting(False, "Draw evenly in the logarithm, for values that span magnitudes.")

    @model_validator(mode="after")
    def _rises(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: low must be above 0, got {self.low}")
        return self

    def draw(self, rng: random.Random) -> int | float:
        """With four digits, which names of runs can show."""
        low, high = (math.log(end) if self.log else end for end in (self.low, self.high))
        value = rng.uniform(low, high)
        value = math.exp(value) if self.log else value
        if isinstance(self.low, int) and isinstance(self.high, int):
            return round(value) if self.log else rng.randint(self.low, self.high)
        return min(max(float(f"{value:.4g}"), self.low), self.high)


class RandomSweep(Settings):
    """Runs with values drawn at random; more of them keep those that there were."""

    count: int = setting(description="How many runs.", gt=0)
    seed: int = setting(0, "Of the draws.", ge=0)
    settings: dict[str, Range | Values] = setting(
        description="For each dotted path a range `{low, high, log}`, or a list to choose from.", min_length=1
    )

    def draw(self) -> list[Changed]:
        """Each run from a generator of its own, so that another count changes none."""
        generators = [random.Random(f"{self.seed}/{index}") for index in range(self.count)]
        return [{path: self._value(told, rng) for path, told in self.settings.items()} for rng in generators]

    @staticmethod
    def _value(told: Range | Values, rng: random.Random) -> Any:
        return told.draw(rng) if isinstance(told, Range) else rng.choice(told)


class Folds(Settings):
    """Cross-validation: fold k validates on the k-th part of the volumes and learns from the others."""

    count: int = setting(description="Number of folds, each a run.", ge=2)
    volumes: tuple[str, ...] | None = setting(None, "Names of the volumes to divide; default: all of split train and val.")
    slabs: Literal["z", "y", "x"] | None = setting(
        None, "Cut each of these volumes into so many slabs along this axis, and divide those; default: whole volumes, in turn."
    )
    ensemble: bool = setting(
        True,
        "One more run for all folds, on the test volumes: the mean of their affinities, at a threshold chosen over all.",
    )

    def divided(self, volumes: dict[str, Any], fold: int) -> dict[str, Any]:
        """The volumes of a config, of which each is a group of settings, as fold 0, 1, ... takes them."""
        names = self.volumes or tuple(name for name, told in volumes.items() if told.get("split") in ("train", "val"))
        for name in names:
            if name not in volumes:
                raise UserError(f"sweep.folds.volumes: {name!r} is none of the volumes {', '.join(volumes)}")
            if self.slabs and volumes[name].get("slab"):
                raise UserError(f"sweep.folds.slabs: volume {name} is a slab already; give whole volumes")
        if not self.slabs and len(names) < self.count:
            raise UserError(
                f"sweep.folds: {len(names)} volumes cannot be divided among {self.count} folds; give fewer folds, or `slabs`"
            )
        found: dict[str, Any] = {}
        for name, told in volumes.items():
            if name not in names:
                found[name] = told
            elif self.slabs:
                found |= {f"{name}-{self.slabs}{k + 1}of{self.count}": self._slab(told, k, fold) for k in range(self.count)}
            else:
                found[name] = {**told, "split": "val" if names.index(name) % self.count == fold else "train"}
        return found

    def _slab(self, told: dict[str, Any], index: int, fold: int) -> dict[str, Any]:
        slab = {"axis": self.slabs, "of": self.count, "index": index}
        return {**told, "split": "val" if index == fold else "train", "slab": slab}


def _equally_long(columns: dict[str, Values]) -> dict[str, Values]:
    lengths = {path: len(values) for path, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{path} has {n}" for path, n in lengths.items())
        raise ValueError(f"all lists must have the same length; {told}")
    return columns


class SweepSettings(Settings):
    """Runs that differ in settings, each named by its dotted path, such as `training.learning_rate`.

    What is given in several of these ways is combined, each with each.
    """

    grid: dict[str, Values] = setting({}, "Lists of values; every combination is a run.")
    zip: Annotated[dict[str, Values], AfterValidator(_equally_long)] = setting(
        {}, "Lists of values of one length; the first of all lists are a run, the second are, and so on."
    )
    list: tuple[Annotated[Changed, setting(min_length=1)], ...] = setting((), "Runs one by one, each with its own settings.")
    random: RandomSweep | None = setting(None, "Values drawn at random.")
    folds: Folds | None = setting(None, "Each of these runs once for each fold.")

    @model_validator(mode="after")
    def _each_path_once(self) -> SweepSettings:
        if not (self.grid or self.zip or self.list or self.random or self.folds):
            raise ValueError("nothing varies; give grid, zip, list, random or folds")
        drawn = self.random.settings if self.random else {}
        listed = {path for told in self.list for path in told}
        paths = sorted([*self.grid, *self.zip, *listed, *drawn])
        for one, other in itertools.pairwise(paths):
            if one == other or other.startswith(f"{one}."):
                raise ValueError(f"{one} is set twice" if one == other else f"{one} and {other} are set, one within the other")
        return self

    def variants(self) -> Iterator[Changed]:
        """What each run sets but for its fold, in the order of the config; equal ones once."""
        zipped = [dict(zip(self.zip, values, strict=True)) for values in zip(*self.zip.values(), strict=True)]
        crossed = [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]
        ways = [self.list, zipped, crossed, self.random.draw() if self.random else []]
        given = [way for way in ways if way]
        seen: list[Changed] = []
        for parts in itertools.product(*given):
            changed: Changed = {path: value for part in parts for path, value in part.items()}
            if changed not in seen:
                seen.append(changed)
                yield changed


def names_of(variants: list[Changed]) -> list[str]:
    """What varies, in short: the end of each path that is enough to tell it from the others, and the value."""
    short = short_names(dict.fromkeys(path for changed in variants for path in changed))
    return [" ".join(f"{short[path]}={_text(value)}" for path, value in changed.items()) for changed in variants]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """The ends of dotted paths, as long as is needed to tell them apart."""
    paths = list(paths)
    short = {}
    for path in paths:
        keys = path.split(".")
        ends = [".".join(keys[-n:]) for n in range(1, len(keys) + 1)]
        others = [other for other in paths if other != path]
        short[path] = next((end for end in ends if not any(f".{other}".endswith(f".{end}") for other in others)), path)
    return short


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
