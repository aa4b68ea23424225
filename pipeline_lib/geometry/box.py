"""A half-open box of voxels that cannot be built wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

Triple = tuple[int, int, int]


def as_triple(values: Sequence[int]) -> Triple:
    """Three integers zyx; anything else raises ValueError."""
    if len(values) != 3 or any(int(v) != v for v in values):
        raise ValueError(f"expected three integers (z, y, x), got {tuple(values)}")
    return cast(Triple, tuple(int(v) for v in values))


@dataclass(frozen=True)
class Box:
    """Voxels `start_vox <= v < stop_vox` along z, y, x. Empty boxes are refused."""

    start_vox: Triple
    stop_vox: Triple

    def __post_init__(self) -> None:
        object.__setattr__(self, "start_vox", as_triple(self.start_vox))
        object.__setattr__(self, "stop_vox", as_triple(self.stop_vox))
        if any(b <= a for a, b in zip(self.start_vox, self.stop_vox, strict=True)):
            raise ValueError(f"a box must hold voxels: start {self.start_vox}, stop {self.stop_vox}")

    @classmethod
    def of_shape(cls, shape_vox: Sequence[int]) -> Box:
        """The box from the origin that a volume of this shape fills."""
        return cls((0, 0, 0), as_triple(shape_vox))

    @property
    def shape_vox(self) -> Triple:
        return as_triple([b - a for a, b in zip(self.start_vox, self.stop_vox, strict=True)])

    @property
    def n_voxels(self) -> int:
        z, y, x = self.shape_vox
        return z * y * x

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Indexes a zyx array; for czyx write `array[(slice(None), *box.slices)]`."""
        z, y, x = (slice(a, b) for a, b in zip(self.start_vox, self.stop_vox, strict=True))
        return z, y, x

    def shifted(self, offset_vox: Sequence[int]) -> Box:
        dz, dy, dx = as_triple(offset_vox)
        (z0, y0, x0), (z1, y1, x1) = self.start_vox, self.stop_vox
        return Box((z0 + dz, y0 + dy, x0 + dx), (z1 + dz, y1 + dy, x1 + dx))

    def grown(self, margin_vox: Sequence[int]) -> Box:
        """A copy larger by `margin_vox` on both sides of each axis."""
        m = as_triple(margin_vox)
        start = [a - n for a, n in zip(self.start_vox, m, strict=True)]
        stop = [b + n for b, n in zip(self.stop_vox, m, strict=True)]
        return Box(as_triple(start), as_triple(stop))

    def clipped(self, other: Box) -> Box:
        """The part of this box inside `other`; ValueError where they do not meet."""
        start = [max(a, b) for a, b in zip(self.start_vox, other.start_vox, strict=True)]
        stop = [min(a, b) for a, b in zip(self.stop_vox, other.stop_vox, strict=True)]
        return Box(as_triple(start), as_triple(stop))

    def meets(self, other: Box) -> bool:
        """Whether the two boxes share a voxel."""
        lows = [max(a, b) for a, b in zip(self.start_vox, other.start_vox, strict=True)]
        highs = [min(a, b) for a, b in zip(self.stop_vox, other.stop_vox, strict=True)]
        return all(a < b for a, b in zip(lows, highs, strict=True))

    def relative_to(self, origin: Box) -> Box:
        """The same voxels counted from the start of `origin`."""
        return self.shifted([-a for a in origin.start_vox])
