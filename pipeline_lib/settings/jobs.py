"""How many jobs share the blocks of a volume, as far as it can be told before any of them runs."""

from __future__ import annotations

from math import ceil, prod
from pathlib import Path

from pipeline_lib.settings.project import BlockStage, Project
from pipeline_lib.settings.sources import array_paths, zarr_shape
from pipeline_lib.settings.volumes import ArrayVolume, NISBVolume, Slab, SyntheticVolume

MOST_JOBS = 500  # of one stage for one volume: a workflow of many more takes minutes to plan
IMPORT_BLOCK_VOX = (256, 256, 256)  # about so many voxels; the blocks of an import follow the chunks of its source


def n_jobs(project: Project, volume: str, stage: BlockStage) -> int:
    """One, unless `blocks_per_job` says otherwise for this stage; at most `MOST_JOBS`.

    The shape is read from the metadata of the source; where that cannot be done, the stage will say why, in a single job.
    """
    per_job = project.blocks_per_job.get(stage)
    source = project.volumes[volume]
    shape_vox = shape_of(source) if per_job is not None else None
    whole = {
        "import": isinstance(source, SyntheticVolume),
        "label": not project.segmentation.by_blocks,
        "segment": not project.segmentation.by_blocks,
        "sweep": not project.segmentation.only_components,
    }
    if whole.get(stage, False):
        return 1
    if per_job is None or shape_vox is None:
        return 1
    blocks_vox = {
        "import": IMPORT_BLOCK_VOX,
        "predict": project.inference.block_vox,
        "evaluate": project.evaluation.block_vox,
    }
    block_vox = blocks_vox.get(stage, project.segmentation.block_vox)
    n_blocks = prod(-(-n // b) for n, b in zip(shape_vox, block_vox, strict=True))
    return min(MOST_JOBS, ceil(n_blocks / per_job))


def shape_of(volume: ArrayVolume | NISBVolume | SyntheticVolume) -> tuple[int, int, int] | None:
    """(z, y, x) of the image, or None where its file does not tell. A folder that is no zarr array is a UserError."""
    if isinstance(volume, SyntheticVolume):
        return volume.shape_vox if volume.slab is None else _shape_of(volume.slab, volume.shape_vox)
    axes, array = ("xyzc", None) if isinstance(volume, NISBVolume) else (volume.axes, volume.image.array)
    path = array_paths(volume)[0]
    try:
        shape = zarr_shape(path) if path.is_dir() else _hdf5_shape(path, array)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    order = axes if len(axes) == len(shape) else axes.replace("c", "")
    if len(order) != len(shape):
        return None
    lengths = dict(zip(order, shape, strict=True))
    whole = (lengths["z"], lengths["y"], lengths["x"])
    return whole if volume.slab is None else _shape_of(volume.slab, whole)


def _shape_of(slab: Slab, shape_vox: tuple[int, int, int]) -> tuple[int, int, int]:
    z, y, x = (stop - start for start, stop in zip(*slab.within(shape_vox), strict=True))
    return z, y, x


def _hdf5_shape(path: Path, array: str | None) -> tuple[int, ...]:
    import h5py

    with h5py.File(path, "r") as file:
        return tuple(file[array if array is not None else next(iter(file))].shape)
