"""Boxes, voxel sizes and block grids. Axes are zyx, boxes are half-open and in voxels."""

from pipeline_lib.geometry.box import Box, Triple
from pipeline_lib.geometry.grid import BlockGrid
from pipeline_lib.geometry.units import nm_to_vox_exact, nm_to_vox_floor

__all__ = ["BlockGrid", "Box", "Triple", "nm_to_vox_exact", "nm_to_vox_floor"]
