"""MedNeXt v1 (Roy et al. 2023, arXiv:2303.09975) with residual connections in all blocks, assembled from MONAI's blocks.

MONAI's own network class gives a downsampling block the expansion ratio of the level above it where the published one has that
of the level below, so that the weights of sizes B, M and L do not fit it. Parameter names here are the published ones.
"""

from __future__ import annotations

from typing import Any

from monai.networks.blocks.mednext_block import MedNeXtBlock, MedNeXtDownBlock, MedNeXtOutBlock, MedNeXtUpBlock
from torch import Tensor, nn

from pipeline_lib.settings.networks import MedNeXt

LEVELS = 4


class MedNeXtNetwork(nn.Module):
    """(N, in_channels, z, y, x) -> logits (N, out_channels, z, y, x); each length a multiple of 16.

    With deep supervision, in training mode only, a tuple of logits: full size, then halved once per level down to 1/16.
    """

    def __init__(self, settings: MedNeXt, *, in_channels: int, out_channels: int) -> None:
        super().__init__()
        counts, ratios = settings.resolved_block_counts, settings.resolved_expansion_ratios
        channels = [settings.init_filters * 2**level for level in range(LEVELS + 1)]
        block: dict[str, Any] = {"kernel_size": settings.kernel_size, "use_residual_connection": True}
        self.deep_supervision = settings.deep_supervision

        def stage(index: int, width: int) -> nn.Sequential:
            return nn.Sequential(
                *(MedNeXtBlock(width, width, expansion_ratio=ratios[index], **block) for _ in range(counts[index]))
            )

        self.stem = nn.Conv3d(in_channels, channels[0], kernel_size=1)
        for level in range(LEVELS):
            fine, coarse = channels[level], channels[level + 1]
            up = 2 * LEVELS - level
            self.add_module(f"enc_block_{level}", stage(level, fine))
            self.add_module(f"down_{level}", MedNeXtDownBlock(fine, coarse, expansion_ratio=ratios[level + 1], **block))
            self.add_module(f"up_{level}", MedNeXtUpBlock(coarse, fine, expansion_ratio=ratios[up], **block))
            self.add_module(f"dec_block_{level}", stage(up, fine))
        self.bottleneck = stage(LEVELS, channels[LEVELS])
        for level in range(LEVELS + 1 if settings.deep_supervision else 1):
            self.add_module(f"out_{level}", MedNeXtOutBlock(channels[level], out_channels, dim="3d"))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        coarser_logits: list[Tensor] = []
        skips = []
        x = self.stem(x)
        for level in range(LEVELS):
            x = self.get_submodule(f"enc_block_{level}")(x)
            skips.append(x)
            x = self.get_submodule(f"down_{level}")(x)
        x = self.bottleneck(x)
        for level in reversed(range(LEVELS)):
            if self.deep_supervision and self.training:
                coarser_logits.append(self.get_submodule(f"out_{level + 1}")(x))
            x = self.get_submodule(f"up_{level}")(x).add_(skips.pop())
            x = self.get_submodule(f"dec_block_{level}")(x)
        logits: Tensor = self.get_submodule("out_0")(x)
        return (logits, *reversed(coarser_logits)) if coarser_logits else logits
