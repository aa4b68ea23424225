"""Image values of any type to uint8, and exact percentiles of volumes that do not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

PART_VOX = 1 << 22  # counted at once: counting needs eight bytes for each


def to_uint8(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Numbers (z, y, x) -> uint8: `low` becomes 0, `high` 255, linear between, rounded to nearest, clipped outside."""
    if not low < high:
        raise ValueError(f"low must be below high, got {low} and {high}")
    result = np.empty(values.shape, np.uint8)
    for plane, target in zip(values, result, strict=True):  # a plane at a time bounds the float64 copies
        scaled = (plane.astype(np.float64) - low) * 255 / (high - low)
        target[...] = np.rint(np.clip(scaled, 0, 255))
    return result


def percentiles_of(
    blocks: Callable[[], Iterable[np.ndarray]], dtype: np.dtype, percentiles: Sequence[float]
) -> tuple[float, ...]:
    """Percentiles of all values of the arrays that `blocks()` yields, interpolated linearly as by `numpy.percentile`.

    blocks: gives the same values, all of `dtype`, each time it is called: once for integers of up to 16 bits, whose values are
    counted one by one, and twice for others, which are counted by the upper and then by the lower half of their float32 value.
    So wider types are exact up to rounding to float32. NaN is a ValueError.
    """
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        lowest = int(np.iinfo(dtype).min)
        below = np.cumsum(_count(part.astype(np.int64) - lowest for part in _parts(blocks())))
        return _interpolated(percentiles, int(below[-1]), lambda rank: float(np.searchsorted(below, rank, "right") + lowest))
    below = np.cumsum(_count(_ordered(part) >> 16 for part in _parts(blocks())))
    total = int(below[-1])
    halves = sorted({int(np.searchsorted(below, rank, "right")) for rank in _ranks(percentiles, total)})
    counts = {half: np.zeros(1 << 16, np.int64) for half in halves}
    for part in _parts(blocks()):
        keys = _ordered(part)
        for half in halves:
            counts[half] += np.bincount(keys[keys >> 16 == half] & 0xFFFF, minlength=1 << 16)

    def at_rank(rank: int) -> float:
        half = int(np.searchsorted(below, rank, "right"))
        rest = rank - (int(below[half - 1]) if half else 0)
        return _value_of((half << 16) + int(np.searchsorted(np.cumsum(counts[half]), rest, "right")))

    return _interpolated(percentiles, total, at_rank)


def _parts(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for block in blocks:
        flat = block.reshape(-1)
        yield from (flat[start : start + PART_VOX] for start in range(0, flat.size, PART_VOX))


def _count(keys: Iterable[np.ndarray]) -> np.ndarray:
    total = np.zeros(1 << 16, np.int64)
    for part in keys:
        total += np.bincount(part, minlength=1 << 16)
    return total


def _ordered(values: np.ndarray) -> np.ndarray:
    """float32 bits as int64 keys in the order of the values: negative numbers have their bits inverted, others the sign set."""
    if np.isnan(values).any():
        raise ValueError("NaN has no percentile")
    bits = values.astype(np.float32).view(np.uint32)
    return np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31)).astype(np.int64)


def _value_of(key: int) -> float:
    bits = key & 0x7FFFFFFF if key >> 31 else ~key & 0xFFFFFFFF
    return float(np.uint32(bits).view(np.float32))


def _ranks(percentiles: Sequence[float], total: int) -> set[int]:
    """Ranks, from 0, of the values between which percentiles are interpolated."""
    places = [p / 100 * (total - 1) for p in percentiles]
    return {int(rank) for place in places for rank in (np.floor(place), np.ceil(place))}


def _interpolated(percentiles: Sequence[float], total: int, at_rank: Callable[[int], float]) -> tuple[float, ...]:
    results = []
    for place in (p / 100 * (total - 1) for p in percentiles):
        lower, upper = at_rank(int(np.floor(place))), at_rank(int(np.ceil(place)))
        results.append(lower + (upper - lower) * (place % 1))
    return tuple(results)
