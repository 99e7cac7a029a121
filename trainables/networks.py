"""ResNet-18, -34 and -50 whose injection sites are explicit.

Without injection, outputs and gradients equal torchvision's ResNets bit for bit (but for the order
of sums in `small_maps`, which channels-last weights on a CPU bring), state dicts are
interchangeable, and equal seeds give equal initial weights (He et al., arXiv 1512.03385; the
Bottleneck has its stride in the 3×3 convolution, as torchvision's). No injection draws a random
number at construction, so initial weights depend on nothing but seed and shape.

Sites in a block (paper sections 3.1 and 4.3): a flip stands after a batch normalisation, that is
before the ReLU or the addition that follows; AutoReLU replaces a ReLU; dropout follows a
convolution. They exist in the residual blocks only, not in the stem.
"""

# B batch, C channels, H height, W width (pixels), K classes

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.autorelu import AutoReLU
from trainables.config import InjectionConfig, NetworkConfig
from trainables.injection import Injection
from trainables.small_maps import SmallMapConv2d

LANES = 16
"""Numbers of fp32 that a register of AVX-512 holds."""
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""Blocks per stage, by depth."""


class SlimProjection(nn.Conv2d):
    """A strided 1×1 convolution of few channels that leaves the unused pixels out beforehand.

    With fewer than 16 input channels and channels last, oneDNN's AVX-512 kernels write beyond their
    own memory: 8 to 16 channels at 48 px ended the process (torch 2.14.1 and 2.15.0, AMD EPYC). The
    sums and their order are the same.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        channels_last = x_BCHW.is_contiguous(memory_format=torch.channels_last)
        if x_BCHW.device.type != "cpu" or not channels_last:
            return super().forward(x_BCHW)
        step = self.stride[0]
        return functional.conv2d(x_BCHW[:, :, ::step, ::step], self.weight)


class Block(nn.Module):
    """What both kinds of residual block share: where features flip, activate and drop."""

    expansion: int
    downsample: nn.Sequential | None

    def __init__(self, injection: InjectionConfig, injected: bool, bns: tuple[str, ...]) -> None:
        """Take the names of the main branch's normalisations, in order."""
        super().__init__()
        self.config = injection
        position = injection.position
        self.sites = {"shortcut", *bns} if position == "all" else {position}
        if not injected:
            self.sites = set()
        self.flips = self.sites if injection.method == "periodic" else set()

    def activation(self, bn: str, channels: int) -> nn.Module:
        """Return the activation that follows normalisation `bn` (the last one's: the addition)."""
        config = self.config
        if config.method != "dynamic" or bn not in self.sites:
            return nn.ReLU(inplace=True)
        num_weights = channels if config.w_per == "channel" else 1
        return AutoReLU(
            num_weights, config.Constant, config.w_init, config.divide_by, config.gradient
        )

    def flip(self, site: str, x_BCHW: Tensor, sign: Tensor) -> Tensor:
        """Multiply by the sign if this is a site of periodic injection; exact for a sign of +1."""
        return x_BCHW * sign if site in self.flips else x_BCHW

    def drop(self, site: str, x_BCHW: Tensor) -> Tensor:
        """Apply dropout if `site` ("conv" or "between") is the configured one."""
        config = self.config
        if config.dropout_rate == 0 or site != config.dropout_site:
            return x_BCHW
        dropout = functional.dropout if config.dropout_kind == "element" else functional.dropout2d
        return dropout(x_BCHW, config.dropout_rate, self.training)

    def shortcut(self, x_BCHW: Tensor, sign: Tensor) -> Tensor:
        """Return the block's input, projected where the block has a projection."""
        if self.downsample is None:
            return x_BCHW
        conv, bn = self.downsample
        return self.flip("shortcut", bn(self.drop("conv", conv(x_BCHW))), sign)


class BasicBlock(Block):
    """Two 3×3 convolutions (ResNet-18 and -34)."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        downsample: nn.Sequential | None,
        injection: InjectionConfig,
        injected: bool,
    ) -> None:
        super().__init__(injection, injected, ("bn1", "bn2"))
        self.conv1 = conv(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = self.activation("bn1", channels)
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.act2 = self.activation("bn2", channels)
        self.downsample = downsample

    def forward(self, x_BCHW: Tensor, sign: Tensor) -> Tensor:
        out = self.bn1(self.drop("conv", self.conv1(x_BCHW)))
        out = self.act1(self.flip("bn1", out, sign))
        out = self.bn2(self.drop("conv", self.conv2(self.drop("between", out))))
        out = self.flip("bn2", out, sign)
        out_BCHW: Tensor = self.act2(out + self.shortcut(x_BCHW, sign))
        return out_BCHW


class Bottleneck(Block):
    """1×1, 3×3 and 1×1 convolutions (ResNet-50)."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        downsample: nn.Sequential | None,
        injection: InjectionConfig,
        injected: bool,
    ) -> None:
        super().__init__(injection, injected, ("bn1", "bn2", "bn3"))
        self.conv1 = conv(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = self.activation("bn1", channels)
        self.conv2 = conv(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.act2 = self.activation("bn2", channels)
        self.conv3 = conv(channels, channels * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.act3 = self.activation("bn3", channels * self.expansion)
        self.downsample = downsample

    def forward(self, x_BCHW: Tensor, sign: Tensor) -> Tensor:
        out = self.bn1(self.drop("conv", self.conv1(x_BCHW)))
        out = self.act1(self.flip("bn1", out, sign))
        out = self.bn2(self.drop("conv", self.conv2(out)))
        out = self.act2(self.flip("bn2", out, sign))
        out = self.bn3(self.drop("conv", self.conv3(self.drop("between", out))))
        out = self.flip("bn3", out, sign)
        out_BCHW: Tensor = self.act3(out + self.shortcut(x_BCHW, sign))
        return out_BCHW


class InjectedResNet(nn.Module):
    """A ResNet with its injection controller, `injection`.

    The forward pass maps float images (B, channels, H, W) to logits (B, classes). Before each
    training forward call `injection.begin_step`, before evaluating `injection.begin_evaluation`.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(
        self, network: NetworkConfig, injection: InjectionConfig, channels: int, classes: int
    ) -> None:
        super().__init__()
        width, small = network.width, network.stem == "small"
        block = Bottleneck if network.depth == 50 else BasicBlock
        self.conv1 = conv(channels, width, 3) if small else conv(channels, width, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        in_channels = width
        for stage, num_blocks in enumerate(BLOCKS[network.depth], start=1):
            blocks: list[nn.Module] = []
            for index in range(num_blocks):
                stride = 2 if stage > 1 and index == 0 else 1
                stage_channels = width * 2 ** (stage - 1)
                out_channels = stage_channels * block.expansion
                # Before the block, because this order of drawing weights is torchvision's.
                downsample = (
                    nn.Sequential(
                        conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)
                    )
                    if stride != 1 or in_channels != out_channels
                    else None
                )
                injected = stage in injection.stages
                blocks.append(
                    block(in_channels, stage_channels, stride, downsample, injection, injected)
                )
                in_channels = out_channels
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(in_channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.injection = Injection(
            injection,
            {
                name.replace("act", "bn"): module
                for name, module in self.named_modules()
                if isinstance(module, AutoReLU)
            },
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.training:
            self.injection.begin_forward()
        out = self.maxpool(self.relu(self.bn1(self.conv1(x_BCHW))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                out = block(out, self.injection.sign)
        out_BC = functional.adaptive_avg_pool2d(out, (1, 1)).flatten(1)
        logits_BK: Tensor = self.fc(out_BC)
        return logits_BK


def build_network(
    network: NetworkConfig, injection: InjectionConfig, channels: int, classes: int
) -> InjectedResNet:
    """Build a network with weights drawn from torch's global generator, as torchvision draws them.

    Parameters
    ----------
    network, injection : NetworkConfig, InjectionConfig
        Two halves of a validated `TrialConfig`.
    channels : int
        Channels of an image: 1 or 3.
    classes : int
        Number of logits.

    Returns
    -------
    InjectedResNet
        On the CPU, in training mode. Its state dict has torchvision's names; the dynamic method
        adds one parameter `layerS.B.actN.w` per AutoReLU unit.
    """
    return InjectedResNet(network, injection, channels, classes)


def conv(in_channels: int, out_channels: int, size: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias that keeps the side at stride 1."""
    kind: type[nn.Conv2d] = SmallMapConv2d
    if size == 1:
        kind = SlimProjection if stride > 1 and in_channels < LANES else nn.Conv2d
    return kind(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False)
