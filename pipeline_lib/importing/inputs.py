"""The files that a volume is imported from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.errors import UserError
from pipeline_lib.importing.image import check_image
from pipeline_lib.importing.labels import check_labels
from pipeline_lib.importing.skeletons import read_skeletons
from pipeline_lib.settings.volumes import ArrayVolume, IntensityRange, NISBVolume, SourceArray, SyntheticVolume, VoxelSize
from pipeline_lib.skeletons import Skeletons
from pipeline_lib.volumes.readers import Source, open_source


@dataclass(frozen=True)
class Inputs:
    """The opened files of a volume, which fit each other. skeletons: the file of those given, read when they are needed."""

    image: Source
    labels: Source | None
    mask: Source | None
    skeletons: Path | None
    voxel_size_nm: VoxelSize
    intensity_range: IntensityRange | None

    def given_skeletons(self) -> Skeletons | None:
        """Those in the slab that is imported, or all of them where the volume is whole."""
        if self.skeletons is None:
            return None
        skeletons = read_skeletons(self.skeletons, self.voxel_size_nm)
        return skeletons if self.image.is_whole else skeletons.within(self.image.place, self.voxel_size_nm)


def as_arrays(volume: ArrayVolume | NISBVolume | SyntheticVolume) -> ArrayVolume:
    """The arrays of a folder of the NISB benchmark, spelt out."""
    if isinstance(volume, ArrayVolume):
        return volume
    if isinstance(volume, SyntheticVolume):
        raise ValueError("a synthetic volume is generated, not imported")
    folder = Path(volume.path)
    return ArrayVolume(
        split=volume.split,
        image=SourceArray(path=str(folder / "data.zarr"), array="img"),
        labels=SourceArray(path=str(folder / "data.zarr"), array="seg"),
        skeletons=str(folder / "skeleton.pkl"),
        voxel_size_nm=volume.voxel_size_nm,
        axes="xyzc",
        slab=volume.slab,
    )


def open_inputs(volume: ArrayVolume) -> Inputs:
    """UserError for files that do not fit each other, as far as that can be told without reading voxels or skeletons."""
    image = open_source(volume.image, axes=volume.axes, slab=volume.slab)
    check_image(image, volume.intensity_range)
    labels = open_source(volume.labels, axes=volume.axes, slab=volume.slab) if volume.labels is not None else None
    mask = open_source(volume.mask, axes=volume.axes, slab=volume.slab) if volume.mask is not None else None
    for name, source in (("labels", labels), ("mask", mask)):
        if source is not None and source.stored_shape_vox != image.stored_shape_vox:
            raise UserError(
                f"{name}: {source.where} has shape {source.stored_shape_vox} (z, y, x), but the image {image.where} has "
                f"{image.stored_shape_vox}"
            )
    if labels is not None:
        check_labels(labels, mask)
    elif mask is not None:
        raise UserError(f"mask: {mask.where} is given without labels; it says where labels may be trusted")
    size = volume.voxel_size_nm or image.voxel_size_nm
    if size is None:
        raise UserError(
            f"the voxel size is missing: {image.where} has no attribute voxel_size_nm; give the setting voxel_size_nm (z, y, x)"
        )
    skeletons = Path(volume.skeletons) if volume.skeletons is not None else None
    return Inputs(image, labels, mask, skeletons, size, volume.intensity_range)
