"""A generated volume in the form that import gives to real ones."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from pipeline_lib.artefacts import Budget
from pipeline_lib.artefacts.budget import PROCESS_MB
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid
from pipeline_lib.settings.scoring import SHARD_VOX
from pipeline_lib.settings.volumes import SyntheticVolume as SyntheticSettings
from pipeline_lib.skeletons import save_skeletons
from pipeline_lib.synthetic.volume import generate
from pipeline_lib.volumes import Volume, create_array, write_box
from pipeline_lib.volumes.ome import write_ome_metadata

_VOXEL_BYTES = 25  # while a volume is generated


def generate_volume(name: str, settings: SyntheticSettings, folder: Path, *, budget: Budget) -> Volume:
    """Generate a volume and write image, labels, skeletons and, last, `volume.json` into `folder`.

    The volume is held in memory; UserError for one that does not fit into the budget.
    """
    need_mb = PROCESS_MB + _VOXEL_BYTES * prod(settings.shape_vox) / 1e6
    if need_mb > budget.memory_mb:
        raise UserError(
            f"a synthetic volume of {' x '.join(map(str, settings.shape_vox))} voxels takes {need_mb:.0f} MB, but the memory "
            f"budget is {budget.memory_mb:.0f} MB; make volumes.{name}.shape_vox smaller"
        )
    (folder / "volume.json").unlink(missing_ok=True)
    made = generate(settings.shape_vox, voxel_size_nm=settings.voxel_size_nm, seed=settings.seed)
    _write(folder / "image.zarr", made.image, settings, labels=False)
    _write(folder / "labels.zarr", made.labels, settings, labels=True)
    save_skeletons(folder / "skeletons.npz", made.skeletons)
    n_neurites = len(np.unique(made.skeletons.node_skeleton_ids))
    print(f"{name}: {n_neurites} neurites in {' x '.join(map(str, settings.shape_vox))} voxels")
    return Volume(
        folder,
        name,
        settings.shape_vox,
        settings.voxel_size_nm,
        labels_path="labels.zarr/0",
        skeletons_path="skeletons.npz",
        source=f"synthetic, seed {settings.seed}",
    ).save()


def _write(group: Path, values: np.ndarray, settings: SyntheticSettings, *, labels: bool) -> None:
    attributes = {"axes": "zyx", "voxel_size_nm": list(settings.voxel_size_nm)}
    array = create_array(group / "0", values.shape, str(values.dtype), attributes=attributes)
    for block in BlockGrid(settings.shape_vox, SHARD_VOX):
        write_box(array, block.write_box, values[block.write_box.slices])
    write_ome_metadata(group, group.stem, settings.voxel_size_nm, labels=labels)
