"""Where a volume comes from and what its numbers mean."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, field_validator, model_validator

from pipeline_lib.settings.base import PathText, Settings, setting

Split = Literal["train", "val", "test"]
PositiveTriple = tuple[Annotated[int, setting(gt=0)], Annotated[int, setting(gt=0)], Annotated[int, setting(gt=0)]]
VoxelSize = tuple[Annotated[float, setting(gt=0)], Annotated[float, setting(gt=0)], Annotated[float, setting(gt=0)]]


class SourceArray(Settings):
    """One array in a file: HDF5, or zarr of format 2 or 3."""

    path: PathText = setting(description="HDF5 file, or folder of a zarr array or group.")
    array: str | None = setting(
        None, "Path of the array inside the file, such as `volumes/raw`; needed for HDF5 and zarr groups."
    )


class IntensityRange(Settings):
    """Image values that become 0 and 255; values outside are clipped."""

    low: float | None = setting(None, "Value that becomes 0.")
    high: float | None = setting(None, "Value that becomes 255.")
    percentiles: tuple[float, float] | None = setting(None, "Percentiles of the whole volume to take as low and high instead.")

    @model_validator(mode="after")
    def _one_way(self) -> IntensityRange:
        given = self.low is not None and self.high is not None
        if given == (self.percentiles is not None) or (self.low is None) != (self.high is None):
            raise ValueError("give either low and high, or percentiles")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.percentiles and not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError(f"percentiles must rise within 0 to 100, got {self.percentiles}")
        return self


class Slab(Settings):
    """One of several equal slabs that a volume is cut into along an axis."""

    axis: Literal["z", "y", "x"] = setting("z", "The axis that is cut.")
    of: int = setting(description="Number of slabs.", ge=1)
    index: int = setting(description="Which of them, from 0.", ge=0)

    @model_validator(mode="after")
    def _one_of_them(self) -> Slab:
        if self.index >= self.of:
            raise ValueError(f"index must be below `of`, {self.of}, got {self.index}")
        return self

    def within(self, shape_vox: tuple[int, int, int]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """First voxel and the one after the last, z, y, x, in a volume of this shape."""
        start, stop = [0, 0, 0], list(shape_vox)
        axis = "zyx".index(self.axis)
        start[axis], stop[axis] = (shape_vox[axis] * k // self.of for k in (self.index, self.index + 1))
        return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


_SLAB = "Only this part of the volume; default: all of it."


class ArrayVolume(Settings):
    """A volume given by its arrays."""

    kind: Literal["arrays"] = "arrays"
    split: Split = setting(description="What the volume is for.")
    image: SourceArray = setting(description="The EM image.")
    labels: SourceArray | None = setting(None, "Neuron ids: 0 is background, -1 (signed types) is unlabelled.")
    mask: SourceArray | None = setting(None, "Non-zero where labels may be trusted.")
    skeletons: PathText | None = setting(None, "Skeletons of the neurons: `.npz` as written by import, or a NISB `.pkl`.")
    voxel_size_nm: VoxelSize | None = setting(
        None, "Voxel size z, y, x in nm; default: the image's attribute `voxel_size_nm`, which is read as z, y, x too."
    )
    axes: str = setting("zyx", "Order of the axes in the files, a permutation of zyx, with c for a channel axis of size 1.")
    intensity_range: IntensityRange | None = setting(None, "Needed for images that are not uint8.")
    slab: Slab | None = setting(None, _SLAB)

    @field_validator("axes")
    @classmethod
    def _known_axes(cls, axes: str) -> str:
        if sorted(axes.replace("c", "", 1)) != ["x", "y", "z"]:
            raise ValueError(f"expected a permutation of zyx, optionally with c, got {axes!r}")
        return axes


class NISBVolume(Settings):
    """A folder of the NISB benchmark: `data.zarr/{img,seg}` and `skeleton.pkl`, x y z c."""

    kind: Literal["nisb"] = "nisb"
    split: Split = setting(description="What the volume is for.")
    path: PathText = setting(description="The folder `seed*`.")
    voxel_size_nm: VoxelSize = setting(description="Voxel size z, y, x in nm: (20, 9, 9) for NISB base, (12, 9, 9) for liconn.")
    slab: Slab | None = setting(None, _SLAB)


class SyntheticVolume(Settings):
    """A generated volume: branching neurites rendered as EM."""

    kind: Literal["synthetic"] = "synthetic"
    split: Split = setting(description="What the volume is for.")
    shape_vox: PositiveTriple = setting(description="Size z, y, x.")
    voxel_size_nm: VoxelSize = setting((20.0, 20.0, 20.0), "Voxel size z, y, x in nm.")
    seed: int = setting(0, "Another seed, another tissue.", ge=0)
    slab: Slab | None = setting(None, _SLAB)

    @property
    def slab_vox(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """First voxel of what is taken of the tissue, and the one after the last."""
        return self.slab.within(self.shape_vox) if self.slab is not None else ((0, 0, 0), self.shape_vox)


def _kind_of(volume: Any) -> str:
    if isinstance(volume, dict):
        return str(volume.get("kind", "arrays"))
    return str(getattr(volume, "kind", "arrays"))


VolumeSettings = Annotated[
    Annotated[ArrayVolume, Tag("arrays")] | Annotated[NISBVolume, Tag("nisb")] | Annotated[SyntheticVolume, Tag("synthetic")],
    Discriminator(_kind_of),
]
