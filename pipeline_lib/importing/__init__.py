"""Foreign volumes become image, labels, mask and skeletons in the project's own form, block by block."""

from pipeline_lib.importing.volume_import import import_volume

__all__ = ["import_volume"]
