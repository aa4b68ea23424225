import re
from types import SimpleNamespace

import pytest
import torch

from pipeline_lib.errors import UserError
from pipeline_lib.network import within_gpu_memory


def test_too_little_memory_of_a_gpu_is_told(monkeypatch):
    gpu = SimpleNamespace(total_memory=24_000_000_000, name="Some GPU")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    expected = re.escape("a step of 3 patches takes more than the 24000 MB of the GPU (Some GPU); make them smaller")
    with (
        pytest.raises(UserError, match=f"^{expected}$"),
        within_gpu_memory("a step of 3 patches", otherwise="make them smaller"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
