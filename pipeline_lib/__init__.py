"""From raw electron microscopy volumes to scored neuron segmentations."""

from pipeline_lib.compiled import keep_compiled_code_local

__version__ = "0.1.0"

keep_compiled_code_local()
