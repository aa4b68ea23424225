import re

import pytest
import torch

from pipeline_lib.errors import UserError
from pipeline_lib.network import within_gpu_memory


def test_too_little_memory_of_a_gpu_is_told(monkeypatch):
    """Others hold 10 GB, and this process 5."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (9_000_000_000, 24_000_000_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 5_000_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Some GPU {device.index}")
    told = "a step takes more than the 14000 MB that are free of 24000 MB of the GPU (Some GPU 3); make it smaller"
    within = within_gpu_memory("a step", device=torch.device("cuda", 3), otherwise="make it smaller")
    with pytest.raises(UserError, match=f"^{re.escape(told)}$"), within:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
