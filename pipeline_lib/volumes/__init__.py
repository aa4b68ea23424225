"""Volumes on disk: zarr arrays in zyx, and readers that turn foreign files into them."""

from pipeline_lib.volumes.arrays import create_array, open_array, read_points, write_box
from pipeline_lib.volumes.volume import Volume

__all__ = ["Volume", "create_array", "open_array", "read_points", "write_box"]
