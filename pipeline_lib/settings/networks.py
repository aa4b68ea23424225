"""Which network, and which patches it accepts; free of torch, so that a config is checked in no time."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from pipeline_lib.settings.base import Settings, setting

Triple = tuple[int, int, int]
PositiveTriple = tuple[PositiveInt, PositiveInt, PositiveInt]
Nine = Annotated[tuple[PositiveInt, ...], Field(min_length=9, max_length=9)]
Activation = Literal["ReLU", "LeakyReLU", "PReLU", "ELU", "SiLU", "GELU"]

ACTIVATION_PARAMETERS: dict[str, tuple[str, ...]] = {"LeakyReLU": ("negative_slope",), "PReLU": ("init",), "ELU": ("alpha",)}


class PatchRule(Settings):
    """Which patches a network accepts: multiples of `divisor_vox` that leave more than one voxel at the lowest level."""

    @property
    def divisor_vox(self) -> Triple:
        """What every accepted patch is a multiple of: (z, y, x)."""
        raise NotImplementedError

    def check_patch(self, patch_vox: Triple) -> None:
        """Raises ValueError, naming the nearest accepted patches, for a patch (z, y, x) that the network does not accept."""
        divisor = self.divisor_vox
        name = getattr(self, "name", type(self).__name__)
        refused = f"patch_vox {tuple(patch_vox)} is not accepted by {name}"
        if len(patch_vox) != 3:
            raise ValueError(f"{refused}: expected three lengths (z, y, x)")
        if any(n < 1 or n % d for n, d in zip(patch_vox, divisor, strict=True)):
            below = tuple(max(d, n // d * d) for n, d in zip(patch_vox, divisor, strict=True))
            above = tuple(max(d, -(-n // d) * d) for n, d in zip(patch_vox, divisor, strict=True))
            nearest = f"are {below} and {above}" if below != above else f"is {above}"
            raise ValueError(f"{refused}: must be a multiple of {divisor}; the nearest accepted {nearest}")
        if prod(patch_vox) == prod(divisor):
            doubled = (*divisor[:2], 2 * divisor[2])
            raise ValueError(f"{refused}: leaves one voxel at the lowest level; the smallest accepted is {doubled}")


class ResidualSymmetricUNet(PatchRule):
    """Residual symmetric U-Net (Lee et al. 2017, arXiv:1706.00120): skips are added, every block has four convolutions."""

    name: Literal["rsunet"] = setting("rsunet", "residual symmetric U-Net")
    width: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = setting(
        (16, 32, 64), "channels of each level, finest first"
    )
    factors: Annotated[tuple[PositiveTriple, ...], Field(min_length=1)] = setting(
        ((2, 2, 2),), "pooling factors (z, y, x): one triple for each level below the finest, or one for all"
    )
    residual: bool = setting(
        True, "false leaves out the residual pair of each block: a plain U-Net, twice as fast, half as deep"
    )
    normalisation: Literal["batch", "group", "instance", "none"] = setting(
        "batch", "before each convolution; batch keeps running statistics, none adds biases to the convolutions"
    )
    group_size: PositiveInt = setting(16, "channels per group; for normalisation: group")
    activation: Activation = setting("ReLU", "activation before each convolution")
    activation_parameters: dict[str, float] = setting(
        {}, "negative_slope for LeakyReLU, init for PReLU, alpha for ELU; what is left out keeps torch's default"
    )
    upsampling: Literal["bilinear", "nearest"] = setting(
        "bilinear", "bilinear: the fixed kernel of the published networks, constant in z and fading at borders"
    )
    depth2d: Annotated[int, Field(ge=0)] = setting(0, "number of finest levels that use kernel2d instead of 3x3x3")
    kernel2d: PositiveTriple = setting((1, 3, 3), "convolution kernel (z, y, x) of the depth2d finest levels")
    input_kernel: PositiveTriple = setting(
        (3, 3, 3), "kernel (z, y, x) of the convolution from the image to the first width; DeepEM has (1, 5, 5) for both"
    )
    output_kernel: PositiveTriple = setting(
        (1, 1, 1), "kernel (z, y, x) of the convolution from the first width to the outputs"
    )

    @field_validator("factors", mode="before")
    @classmethod
    def _one_for_all(cls, value: Any) -> Any:
        return (value,) if isinstance(value, list | tuple) and all(isinstance(n, int) for n in value) else value

    @model_validator(mode="after")
    def _check(self) -> ResidualSymmetricUNet:
        below = len(self.width) - 1
        if len(self.factors) not in (1, below):
            raise ValueError(f"factors: expected 1 or {below} (one for each level below the finest), got {len(self.factors)}")
        if self.normalisation == "group" and any(w % self.group_size for w in self.width):
            raise ValueError(f"width {self.width}: every entry must be a multiple of group_size {self.group_size}")
        if self.depth2d > len(self.width):
            raise ValueError(f"depth2d {self.depth2d}: there are only {len(self.width)} levels")
        check_activation(self.activation, self.activation_parameters)
        for kernel in ("kernel2d", "input_kernel", "output_kernel"):
            if any(n % 2 == 0 for n in getattr(self, kernel)):
                raise ValueError(f"{kernel} {getattr(self, kernel)}: must be odd on every axis")
        return self

    @property
    def level_factors(self) -> tuple[Triple, ...]:
        """Pooling factors (z, y, x) for each level below the finest."""
        below = len(self.width) - 1
        return self.factors if len(self.factors) == below else self.factors * below

    @property
    def divisor_vox(self) -> Triple:
        z, y, x = (prod(f[axis] for f in self.level_factors) for axis in range(3))
        return z, y, x


MEDNEXT_BLOCK_COUNTS: dict[str, tuple[int, ...]] = {
    "S": (2, 2, 2, 2, 2, 2, 2, 2, 2),
    "B": (2, 2, 2, 2, 2, 2, 2, 2, 2),
    "M": (3, 4, 4, 4, 4, 4, 4, 4, 3),
    "L": (3, 4, 8, 8, 8, 8, 8, 4, 3),
}
MEDNEXT_EXPANSION_RATIOS: dict[str, tuple[int, ...]] = {
    "S": (2, 2, 2, 2, 2, 2, 2, 2, 2),
    "B": (2, 3, 4, 4, 4, 4, 4, 3, 2),
    "M": (2, 3, 4, 4, 4, 4, 4, 3, 2),
    "L": (3, 4, 8, 8, 8, 8, 8, 4, 3),
}


class MedNeXt(PatchRule):
    """MedNeXt (Roy et al. 2023, arXiv:2303.09975), with residual connections in all blocks."""

    name: Literal["mednext"] = setting("mednext", "MedNeXt")
    size: Literal["S", "B", "M", "L"] = setting("S", "published size: gives what block_counts and expansion_ratios leave open")
    kernel_size: Literal[3, 5, 7] = setting(3, "length of the depthwise kernels, all axes")
    init_filters: PositiveInt = setting(32, "channels of the finest level; each level below doubles them")
    block_counts: Nine | None = setting(None, "blocks of 4 encoder levels, bottleneck, 4 decoder levels; null: as in size")
    expansion_ratios: PositiveInt | Nine | None = setting(None, "one, or nine in the order of block_counts; null: as in size")
    deep_supervision: bool = setting(False, "in training also returns the logits of every coarser level")

    @property
    def resolved_block_counts(self) -> tuple[int, ...]:
        return self.block_counts or MEDNEXT_BLOCK_COUNTS[self.size]

    @property
    def resolved_expansion_ratios(self) -> tuple[int, ...]:
        if self.expansion_ratios is None:
            return MEDNEXT_EXPANSION_RATIOS[self.size]
        return (self.expansion_ratios,) * 9 if isinstance(self.expansion_ratios, int) else self.expansion_ratios

    @property
    def divisor_vox(self) -> Triple:
        return 16, 16, 16


NetworkSettings = Annotated[ResidualSymmetricUNet | MedNeXt, Field(discriminator="name")]


def check_activation(name: str, parameters: Mapping[str, float]) -> None:
    """Raises ValueError for a parameter that the activation does not have."""
    known = ACTIVATION_PARAMETERS.get(name, ())
    for parameter in parameters:
        if parameter not in known:
            raise ValueError(f"activation {name} has no parameter {parameter}; it takes {', '.join(known) or 'none'}")
