"""Agglomeration of one volume at the chosen threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.artefacts import read_json, write_json
from pipeline_lib.components import segment_affinities
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid
from pipeline_lib.settings.scoring import SHARD_VOX, SegmentationSettings
from pipeline_lib.volumes import Volume, create_array, write_box
from pipeline_lib.volumes.affinities import open_affinities
from pipeline_lib.volumes.ome import write_ome_metadata


def segment_volume(
    settings: SegmentationSettings, prediction: Path, volume: Volume, folder: Path, *, choice: Path | None = None
) -> None:
    """Write `segmentation.zarr/0` (z, y, x) uint32, 0 = background, and then `complete.json` into `folder`.

    The threshold is that of the settings, or of the file `choice` that a sweep wrote. The volume is held in memory.
    """
    chosen: dict[str, Any] = read_json(choice) if choice is not None else {"threshold": settings.threshold, "by": "settings"}
    if chosen["threshold"] is None:
        raise UserError("there is no threshold: give the choice of a sweep, or segmentation.threshold")
    affinities = open_affinities(prediction / "affinities.zarr" / "0")
    complete = folder / "complete.json"
    complete.unlink(missing_ok=True)
    labels = segment_affinities(np.asarray(affinities.array[:3]), chosen["threshold"], **settings.after_labelling)
    attributes = {"axes": "zyx", "voxel_size_nm": list(volume.voxel_size_nm), "threshold": chosen["threshold"]}
    array = create_array(folder / "segmentation.zarr" / "0", labels.shape, "uint32", attributes=attributes)
    for block in BlockGrid(volume.shape_vox, SHARD_VOX):
        write_box(array, block.write_box, labels[block.write_box.slices])
    write_ome_metadata(folder / "segmentation.zarr", "segmentation", volume.voxel_size_nm, labels=True)
    n_segments = int(labels.max(initial=0))
    write_json(complete, {"schema": 1, "choice": chosen, "n_segments": n_segments, "shape_vox": list(labels.shape)})
    print(f"{volume.name}: {n_segments} segments at threshold {chosen['threshold']:g}")
