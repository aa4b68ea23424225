"""A segmentation on disk, however it was computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.artefacts import Finished
from pipeline_lib.volumes import Volume, create_array
from pipeline_lib.volumes.ome import write_ome_metadata

GROUP = "segmentation.zarr"
ARRAY = f"{GROUP}/0"


def create_segmentation(folder: Path, volume: Volume, dtype: str, *, threshold: float) -> None:
    """The array (z, y, x), background everywhere."""
    attributes = {"axes": "zyx", "voxel_size_nm": list(volume.voxel_size_nm), "threshold": threshold}
    create_array(folder / ARRAY, volume.shape_vox, dtype, attributes=attributes)


def finish_segmentation(folder: Path, volume: Volume, *, choice: Mapping[str, Any], n_segments: int) -> Finished:
    """Metadata for viewers; returns what complete.json says of a segmentation."""
    write_ome_metadata(folder / GROUP, "segmentation", volume.voxel_size_nm, labels=True)
    print(f"{volume.name}: {n_segments} segments at threshold {choice['threshold']:g}")
    return Finished(facts={"choice": choice, "n_segments": n_segments, "shape_vox": list(volume.shape_vox)})
