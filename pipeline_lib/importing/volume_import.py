"""The import of one volume, from checks of all its files to `volume.json`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.errors import UserError
from pipeline_lib.importing.image import check_image, range_of, usable_in_place, write_image
from pipeline_lib.importing.labels import check_labels, stored_dtype, write_labels
from pipeline_lib.importing.skeletons import check_on_labels, check_positions, make_skeletons, read_skeletons
from pipeline_lib.settings.stages import ImportStage
from pipeline_lib.settings.volumes import ArrayVolume, IntensityRange, NISBVolume, SourceArray, SyntheticVolume, VoxelSize
from pipeline_lib.skeletons import Skeletons, save_skeletons
from pipeline_lib.volumes import Volume, create_array, open_array
from pipeline_lib.volumes.ome import add_levels, write_ome_metadata
from pipeline_lib.volumes.readers import Source, open_source


@dataclass(frozen=True)
class Inputs:
    """The opened files of a volume, which fit each other."""

    image: Source
    labels: Source | None
    mask: Source | None
    skeletons: Skeletons | None
    skeletons_source: str
    voxel_size_nm: VoxelSize
    intensity_range: IntensityRange | None


def import_volume(settings: ImportStage, folder: Path) -> Volume:
    """Convert the volume into `folder`, holding about a gigabyte at once whatever its size, and return it.

    Everything that can be checked without reading voxels is checked before anything is written. `volume.json` is written last:
    an import that was ended at any moment starts anew. Mistakes in the files are a UserError that names the volume.
    The caller owns `folder`. Skeletons that are not given are made from the labels.
    """
    try:
        inputs = _open_inputs(as_arrays(settings.volume))
        _clean(folder)
        try:
            volume = _convert(inputs, settings.name, folder)
        except UserError:
            _clean(folder)
            raise
    except UserError as error:
        raise UserError(f"volume {settings.name}: {error}") from error
    return volume.save()


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
    )


def _open_inputs(volume: ArrayVolume) -> Inputs:
    image = open_source(volume.image, axes=volume.axes)
    check_image(image, volume.intensity_range)
    labels = open_source(volume.labels, axes=volume.axes) if volume.labels is not None else None
    mask = open_source(volume.mask, axes=volume.axes) if volume.mask is not None else None
    for name, source in (("labels", labels), ("mask", mask)):
        if source is not None and source.shape_vox != image.shape_vox:
            raise UserError(
                f"{name}: {source.where} has shape {source.shape_vox} (z, y, x), but the image {image.where} has "
                f"{image.shape_vox}"
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
    skeletons = None
    if volume.skeletons is not None:
        skeletons = read_skeletons(Path(volume.skeletons), size)
        check_positions(skeletons, image.shape_vox, size, volume.skeletons)
    return Inputs(image, labels, mask, skeletons, volume.skeletons or "", size, volume.intensity_range)


def _clean(folder: Path) -> None:
    """Remove what an earlier import left; `volume.json` first, so that no half of it passes for a whole."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("volume.json", "skeletons.npz"):
            (folder / name).unlink(missing_ok=True)
        for name in ("image.zarr", "labels.zarr", "mask.zarr"):
            if (folder / name).exists():
                shutil.rmtree(folder / name)
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}") from error


def _convert(inputs: Inputs, name: str, folder: Path) -> Volume:
    image_path, (labels_path, mask_path) = _convert_image(inputs, folder), _convert_labels(inputs, folder)
    skeletons_path = None
    labels = open_array(folder / labels_path) if labels_path is not None else None
    skeletons = inputs.skeletons
    if skeletons is not None and labels is not None:
        mask = open_array(folder / mask_path) if mask_path is not None else None
        check_on_labels(skeletons, labels, mask, inputs.voxel_size_nm, inputs.skeletons_source)
    if skeletons is None and labels is not None:
        skeletons = make_skeletons(labels, inputs.voxel_size_nm)
    if skeletons is not None:
        skeletons_path = "skeletons.npz"
        save_skeletons(folder / skeletons_path, skeletons)
    return Volume(
        folder=folder,
        name=name,
        shape_vox=inputs.image.shape_vox,
        voxel_size_nm=inputs.voxel_size_nm,
        image_path=image_path,
        labels_path=labels_path,
        mask_path=mask_path,
        skeletons_path=skeletons_path,
        source=inputs.image.where,
    )


def _convert_image(inputs: Inputs, folder: Path) -> str:
    """Returns the path of the image array: relative to the folder, or absolute where the image is used in place."""
    if usable_in_place(inputs.image, inputs.intensity_range):
        return str(inputs.image.stored.zarr_path)
    limits = range_of(inputs.image, inputs.intensity_range)
    attributes = _attributes(inputs) | ({"intensity_range": list(limits)} if limits is not None else {})
    array = create_array(folder / "image.zarr" / "0", inputs.image.shape_vox, "uint8", attributes=attributes)
    write_image(inputs.image, array, limits)
    _finish(folder / "image.zarr", "image", inputs.voxel_size_nm, labels=False)
    return "image.zarr/0"


def _convert_labels(inputs: Inputs, folder: Path) -> tuple[str | None, str | None]:
    """Returns the paths of labels and mask; there is a mask only where a voxel is unlabelled."""
    if inputs.labels is None:
        return None, None
    shape, attributes = inputs.labels.shape_vox, _attributes(inputs)
    array = create_array(folder / "labels.zarr" / "0", shape, stored_dtype(inputs.labels), attributes=attributes)
    mask_array = None
    if inputs.mask is not None or inputs.labels.dtype.kind == "i":
        mask_array = create_array(folder / "mask.zarr" / "0", shape, "uint8", attributes=attributes)
    any_unlabelled = write_labels(inputs.labels, inputs.mask, array, mask_array)
    _finish(folder / "labels.zarr", "labels", inputs.voxel_size_nm, labels=True)
    if mask_array is None:
        return "labels.zarr/0", None
    if not any_unlabelled:
        shutil.rmtree(folder / "mask.zarr")
        return "labels.zarr/0", None
    _finish(folder / "mask.zarr", "mask", inputs.voxel_size_nm, labels=True)
    return "labels.zarr/0", "mask.zarr/0"


def _attributes(inputs: Inputs) -> dict[str, object]:
    return {"axes": "zyx", "voxel_size_nm": list(inputs.voxel_size_nm)}


def _finish(group: Path, name: str, voxel_size_nm: VoxelSize, *, labels: bool) -> None:
    add_levels(group, voxel_size_nm, labels=labels)
    write_ome_metadata(group, name, voxel_size_nm, labels=labels)
