"""What every file format hands over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Indexable(Protocol):
    """What zarr and HDF5 arrays have in common: slices and integers, one for each axis, give a numpy array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass(frozen=True)
class StoredArray:
    """An array with its axes in the order of the file.

    where: names file and array in messages. chunks: what the file reads at once, one length for each axis.
    attributes: those of the array and of the groups above it; the nearest wins.
    zarr_path: where `open_array` finds it, None in other formats.
    """

    array: Indexable
    where: str
    chunks: tuple[int, ...]
    attributes: Mapping[str, Any]
    zarr_path: Path | None = None


def listed(names: Iterable[str], limit: int = 20) -> str:
    """The names of the arrays in a file, for messages."""
    found = sorted(names)
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return (", ".join(found[:limit]) or "none") + more
