"""Networks by name, and published weights for them."""

from pipeline_lib.network.gpu_memory import within_gpu_memory
from pipeline_lib.network.published import load_published_weights
from pipeline_lib.network.registry import build_network, network_from_settings

__all__ = ["build_network", "load_published_weights", "network_from_settings", "within_gpu_memory"]
