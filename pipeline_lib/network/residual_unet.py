"""Residual symmetric U-Net (Lee et al. 2017, arXiv:1706.00120), composed from widths, factors, normalisation and activation.

Parameter names are those of the published networks, so that their weights load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from pipeline_lib.network.upsampling import FixedBilinearUpsampling
from pipeline_lib.settings.networks import ResidualSymmetricUNet, Triple

MakeNorm = Callable[[int], nn.Module | None]


@dataclass(frozen=True, kw_only=True)
class Layers:
    """How the layers of one network are made: `normalisation(channels)` gives a layer or None, `activation` is torch's name."""

    normalisation: MakeNorm
    activation: str = "ReLU"
    activation_parameters: Mapping[str, float] = field(default_factory=dict)
    upsampling: str = "bilinear"
    residual: bool = True
    norm_name: str = "norm_act"  # "norm_relu" in the published networks whose activation is fixed

    def make_activation(self, *, inplace: bool) -> nn.Module:
        can_be_inplace = self.activation in ("ReLU", "LeakyReLU", "ELU", "SiLU")
        options = {"inplace": True} if inplace and can_be_inplace else {}
        made: nn.Module = getattr(nn, self.activation)(**self.activation_parameters, **options)
        return made

    @property
    def slope(self) -> float:
        """Slope of the activation below 0 that the initialisation assumes."""
        defaults = {"LeakyReLU": ("negative_slope", 0.01), "PReLU": ("init", 0.25)}
        name, default = defaults.get(self.activation, ("", 0.0))
        return self.activation_parameters.get(name, default)


class NormAct(nn.Module):
    """Normalisation, then activation."""

    def __init__(self, channels: int, layers: Layers) -> None:
        super().__init__()
        norm = layers.normalisation(channels)
        if norm is not None:
            self.norm = norm
        # Without a normalisation the input itself would be overwritten, which the residual connection still needs.
        self.act = layers.make_activation(inplace=norm is not None)

    def forward(self, x: Tensor) -> Tensor:
        norm = self._modules.get("norm")
        return self.act(x if norm is None else norm(x))


class PreActivatedConv(nn.Module):
    """Normalisation, activation, convolution of the same size."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Triple, layers: Layers) -> None:
        super().__init__()
        self.norm_name = layers.norm_name
        norm_act = NormAct(in_channels, layers)
        self.add_module(layers.norm_name, norm_act)
        has_norm = hasattr(norm_act, "norm")
        self.conv = same_size_conv(in_channels, out_channels, kernel, bias=not has_norm, slope=layers.slope)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.get_submodule(self.norm_name)(x))


class Residual(nn.Module):
    """x + conv2(conv1(x))."""

    def __init__(self, channels: int, kernel: Triple, layers: Layers) -> None:
        super().__init__()
        self.conv1 = PreActivatedConv(channels, channels, kernel, layers)
        self.conv2 = PreActivatedConv(channels, channels, kernel, layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x)).add_(x)


class Block(nn.Module):
    """Convolution, residual pair (unless `layers` leave it out), convolution."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Triple, layers: Layers) -> None:
        super().__init__()
        self.pre = PreActivatedConv(in_channels, out_channels, kernel, layers)
        self.res = Residual(out_channels, kernel, layers) if layers.residual else nn.Identity()
        self.post = PreActivatedConv(out_channels, out_channels, kernel, layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.post(self.res(self.pre(x)))


class Up(nn.Module):
    """Upsampling and a 1x1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, factors: Triple, layers: Layers) -> None:
        super().__init__()
        resize = (
            FixedBilinearUpsampling(in_channels, factors)
            if layers.upsampling == "bilinear"
            else nn.Upsample(scale_factor=factors)
        )
        self.up = nn.Sequential(resize, same_size_conv(in_channels, out_channels, (1, 1, 1), bias=False, slope=layers.slope))

    def forward(self, x: Tensor) -> Tensor:
        # The two commute, as every channel is resized alike; convolving the small array first is the cheaper order.
        resize, convolve = self.up
        return resize(convolve(x))


class UpBlock(nn.Module):
    """Up, plus the skip, then a block."""

    def __init__(self, in_channels: int, out_channels: int, factors: Triple, kernel: Triple, layers: Layers) -> None:
        super().__init__()
        self.up = Up(in_channels, out_channels, factors, layers)
        self.conv = Block(out_channels, out_channels, kernel, layers)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv(self.up(x).add_(skip))


class ResidualUNetCore(nn.Module):
    """(N, width[0], z, y, x) -> the same shape; `kernels` for every level, pooling `factors` for every level but the finest."""

    def __init__(self, width: Sequence[int], factors: Sequence[Triple], kernels: Sequence[Triple], layers: Layers) -> None:
        super().__init__()
        levels = range(1, len(width))
        self.iconv = Block(width[0], width[0], kernels[0], layers)
        self.dconvs = nn.ModuleList(
            nn.Sequential(nn.MaxPool3d(factors[i - 1]), Block(width[i - 1], width[i], kernels[i], layers)) for i in levels
        )
        self.uconvs = nn.ModuleList(
            UpBlock(width[i], width[i - 1], factors[i - 1], kernels[i - 1], layers) for i in reversed(levels)
        )
        self.final = NormAct(width[0], layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.iconv(x)
        skips = []
        for down in self.dconvs:
            skips.append(x)
            x = down(x)
        for up in self.uconvs:
            x = up(x, skips.pop())
        return self.final(x)


class ResidualUNet(nn.Module):
    """(N, in_channels, z, y, x) -> logits (N, out_channels, z, y, x): the core between two embedding convolutions."""

    def __init__(self, settings: ResidualSymmetricUNet, *, in_channels: int, out_channels: int) -> None:
        super().__init__()
        layers = Layers(
            normalisation=normalisation(settings.normalisation, group_size=settings.group_size),
            activation=settings.activation,
            activation_parameters=settings.activation_parameters,
            upsampling=settings.upsampling,
            residual=settings.residual,
        )
        first = settings.width[0]
        self.input = same_size_conv(in_channels, first, settings.input_kernel, bias=False, slope=layers.slope)
        kernels = kernels_per_level(len(settings.width), settings.depth2d, settings.kernel2d)
        self.core = ResidualUNetCore(settings.width, settings.level_factors, kernels, layers)
        self.output = same_size_conv(first, out_channels, settings.output_kernel, bias=True, slope=layers.slope)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.core(self.input(x)))


def kernels_per_level(levels: int, depth2d: int, kernel2d: Triple) -> list[Triple]:
    """`kernel2d` for the `depth2d` finest levels, (3, 3, 3) below."""
    return [kernel2d if level < depth2d else (3, 3, 3) for level in range(levels)]


def normalisation(kind: str, *, group_size: int = 16, eps: float = 1e-5, affine: bool = True) -> MakeNorm:
    """What makes the layer for a number of channels: batch, group (`group_size` channels each), instance, or none (None)."""

    def make(channels: int) -> nn.Module | None:
        if kind == "batch":
            return nn.BatchNorm3d(channels, eps=eps, affine=affine)
        if kind == "group":
            return nn.GroupNorm(channels // group_size, channels, eps=eps, affine=affine)
        if kind == "instance":
            return nn.InstanceNorm3d(channels, eps=eps, affine=affine)
        return None

    return make


def same_size_conv(in_channels: int, out_channels: int, kernel: Triple, *, bias: bool, slope: float) -> nn.Conv3d:
    """Convolution padded to keep the size, with Kaiming-normal weights and zero bias."""
    z, y, x = kernel
    conv = nn.Conv3d(in_channels, out_channels, kernel, padding=(z // 2, y // 2, x // 2), bias=bias)
    nn.init.kaiming_normal_(conv.weight, a=slope, nonlinearity="leaky_relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
