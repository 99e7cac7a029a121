"""A convolution for maps so small that most of its kernel lies outside them.

At 48 px the last stage of a ResNet sees maps of 2×2 pixels. There a 3×3 kernel meets the map with
4 of its 9 taps at every place, and the map's padding with the others. oneDNN multiplies the padding
too and reorders the weights for it; the products that are left are a few plain matrix products of
the memory as it lies. On one core of an AMD EPYC (Zen 5) they take 0.4 of the time at 512 channels
and 0.8 at 64. The sums are the same, added in another order.
"""

# B batch, H height, W width (pixels), I input channels, O output channels

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

MOST_INSIDE = 0.5
"""Share of a kernel's taps that may meet the map; with more, oneDNN is as fast."""
LEAST_WEIGHTS = 64 * 128
"""Input × output channels from which on the products outweigh the calls that start them."""


class Product(NamedTuple):
    """One matrix product: a run of neighbouring pixels times a run of taps makes one pixel.

    All three count in pixels or taps from the first, row by row.
    """

    output: int
    pixel: int
    tap: int
    length: int
    first: bool
    """Whether it is the first that adds to its output."""


class Geometry(NamedTuple):
    """Sides of a map, of a square kernel and how it moves, in pixels."""

    height: int
    width: int
    kernel: int
    stride: int
    padding: int

    def output(self, side: int) -> int:
        """Return the output's side for a side of the map."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1


def share_inside(geometry: Geometry) -> float:
    """Return the share of a kernel's taps that meet the map, over all places of the kernel.

    >>> share_inside(Geometry(2, 2, kernel=3, stride=1, padding=1))
    0.4444444444444444
    """
    shares = []
    for side in (geometry.height, geometry.width):
        places = geometry.output(side)
        met = sum(len(_taps(geometry, side, place)) for place in range(places))
        shares.append(met / (geometry.kernel * places))
    return shares[0] * shares[1]


@functools.lru_cache(maxsize=64)
def products(geometry: Geometry) -> tuple[Product, ...]:
    """Return the matrix products that make up a convolution."""
    found = []
    columns = geometry.output(geometry.width)
    for row in range(geometry.output(geometry.height)):
        taps_down = _taps(geometry, geometry.height, row)
        for column in range(columns):
            across = _taps(geometry, geometry.width, column)
            left = column * geometry.stride - geometry.padding + across.start
            for tap_row in taps_down:
                top = row * geometry.stride - geometry.padding + tap_row
                found.append(
                    Product(
                        output=row * columns + column,
                        pixel=top * geometry.width + left,
                        tap=tap_row * geometry.kernel + across.start,
                        length=len(across),
                        first=tap_row == taps_down.start,
                    )
                )
    return tuple(found)


class SmallMapConv2d(nn.Conv2d):
    """A square convolution without bias that multiplies no padding where most of it would be.

    That is on a CPU, for fp32 and fp64, where weights lie channels last, there are `LEAST_WEIGHTS`,
    and at most `MOST_INSIDE` of the kernel meets the map; anywhere else it is `nn.Conv2d`.
    """

    def forward(self, x_BIHW: Tensor) -> Tensor:
        height, width = x_BIHW.shape[2:]
        geometry = Geometry(
            height, width, self.kernel_size[0], self.stride[0], int(self.padding[0])
        )
        if not self._pays(x_BIHW, geometry):
            return super().forward(x_BIHW)
        out_BOHW: Tensor = _Products.apply(x_BIHW, self.weight, geometry)
        return out_BOHW

    def _pays(self, x_BIHW: Tensor, geometry: Geometry) -> bool:
        weight = self.weight
        return (
            x_BIHW.device.type == "cpu"
            and x_BIHW.dtype == weight.dtype
            and weight.dtype in (torch.float32, torch.float64)
            and not torch.is_autocast_enabled("cpu")
            and weight.is_contiguous(memory_format=torch.channels_last)
            and self.in_channels * self.out_channels >= LEAST_WEIGHTS
            and _pays(geometry)
        )


class _Products(torch.autograd.Function):
    """The convolution as matrix products of views; nothing is copied but by a wrong layout."""

    @staticmethod
    def forward(ctx: Any, x_BIHW: Tensor, weight_OIHW: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x_BIHW, weight_OIHW)
        ctx.geometry = geometry
        x, weight = _rows(x_BIHW), _rows(weight_OIHW)
        size_i, size_o = x_BIHW.shape[1], len(weight)
        rows, columns = geometry.output(geometry.height), geometry.output(geometry.width)
        out = x.new_empty(len(x), rows * columns * size_o)
        for product in products(geometry):
            pixels, taps, target = _views(product, x, weight, out, size_i, size_o)
            if product.first:
                torch.mm(pixels, taps.t(), out=target)
            else:
                target.addmm_(pixels, taps.t())
        return _channels_first(out, rows, columns)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BOHW: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x_BIHW, weight_OIHW = ctx.saved_tensors
        geometry: Geometry = ctx.geometry
        x, weight, grad = _rows(x_BIHW), _rows(weight_OIHW), _rows(grad_BOHW)
        size_i, size_o = x_BIHW.shape[1], len(weight)
        for_x, for_weight = ctx.needs_input_grad[:2]
        # Sums start at zero, because not every pixel and not every tap may be met.
        grad_x = torch.zeros_like(x) if for_x else x
        grad_weight = torch.zeros_like(weight) if for_weight else weight
        for product in products(geometry):
            pixels, taps, of_output = _views(product, x, weight, grad, size_i, size_o)
            pixels_to, taps_to, _ = _views(product, grad_x, grad_weight, grad, size_i, size_o)
            if for_x:
                pixels_to.addmm_(of_output, taps)
            if for_weight:
                taps_to.addmm_(of_output.t(), pixels)
        return (
            _channels_first(grad_x, geometry.height, geometry.width) if for_x else None,
            _channels_first(grad_weight, geometry.kernel, geometry.kernel) if for_weight else None,
            None,
        )


@functools.lru_cache(maxsize=64)
def _pays(geometry: Geometry) -> bool:
    return geometry.kernel > 1 and share_inside(geometry) <= MOST_INSIDE


def _taps(geometry: Geometry, side: int, place: int) -> range:
    """Return the taps that meet the map in one direction, at a place of the output."""
    start = place * geometry.stride - geometry.padding
    return range(max(0, -start), min(geometry.kernel, side - start))


def _views(
    product: Product, x: Tensor, weight: Tensor, out: Tensor, size_i: int, size_o: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels (B, n), taps (O, n) and output (B, O) of a product, n = length × I."""
    n = product.length * size_i
    return (
        x.narrow(1, product.pixel * size_i, n),
        weight.narrow(1, product.tap * size_i, n),
        out.narrow(1, product.output * size_o, size_o),
    )


def _rows(tensor_NCHW: Tensor) -> Tensor:
    """Return (N, H × W × C): a view where memory is channels last."""
    return tensor_NCHW.permute(0, 2, 3, 1).reshape(len(tensor_NCHW), -1)


def _channels_first(rows: Tensor, height: int, width: int) -> Tensor:
    """Return (N, C, H, W), whose memory is channels last."""
    return rows.view(len(rows), height, width, -1).permute(0, 3, 1, 2)
