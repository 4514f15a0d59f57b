"""U-Nets: a light one with smooth upsampling, and the generator of the Pix2Pix paper.

Both take floats of 0 to 1, which they move to -1 to 1 themselves, and return logits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from geofootprint.learning.networks.norm import make_norm
from geofootprint.learning.networks.padding import pad_to_multiple

__all__ = ["UNet", "UNet256"]


class UNet(nn.Module):
    """A light U-Net: two 3 x 3 convolutions a level, batch normalisation, bilinear upsampling.

    Batch normalisation has fixed statistics at inference, so that a prediction does not depend on its window.

    Parameters
    ----------
    in_channels, out_channels : int
        Colour bands in, logits out.
    width : int
        Filters of the first level; they double each level up to `width` * 8.
    levels : int
        Resolutions; each is half the one before.
    stride : int
        Pixels to a step of the first level. With 2 the network works at half the resolution, for a quarter of the
        time, and its logits are interpolated: less than the noise of hand-drawn outlines at 0.15 m.
    norm : {"batch", "channel", "none"}
        What comes after each convolution; ``channel`` normalises the channels of each pixel.
    upsampling : {"bilinear", "transposed"}
        Transposed convolutions leave checkerboards, which end in the outlines.

    References
    ----------
    Ronneberger, Fischer, Brox: U-Net (2015), arXiv:1505.04597.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        levels: int = 6,
        stride: int = 1,
        norm: str = "batch",
        upsampling: str = "bilinear",
    ) -> None:
        super().__init__()
        widths = [min(width * 2**level, width * 8) for level in range(levels)]
        self.stride = stride
        self.multiple = stride * 2 ** (levels - 1)
        self.stem = nn.Identity() if stride == 1 else nn.PixelUnshuffle(stride)
        in_channels *= stride**2
        self.encoder = nn.ModuleList(
            _double_convolution(before, after, norm)
            for before, after in zip([in_channels, *widths], widths, strict=False)
        )
        inner = list(reversed(range(levels - 1)))
        self.up = nn.ModuleList(_double_size(widths[level + 1], upsampling) for level in inner)
        self.decoder = nn.ModuleList(
            _double_convolution(widths[level + 1] + widths[level], widths[level], norm) for level in inner
        )
        self.head = nn.Conv2d(widths[0], out_channels, kernel_size=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (N, out_channels, H, W) for an image of shape (N, in_channels, H, W)."""
        height, width = image.shape[-2:]
        x = self.stem(pad_to_multiple(image * 2 - 1, self.multiple))
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for double, block in zip(self.up, self.decoder, strict=True):
            x = block(torch.cat([double(x), skips.pop()], dim=1))
        logits: torch.Tensor = self.head(x)
        if self.stride > 1:
            logits = F.interpolate(logits, scale_factor=float(self.stride), mode="bilinear", align_corners=False)
        return logits[..., :height, :width]


def _double_convolution(before: int, after: int, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [
            nn.Conv2d(channels, after, kernel_size=3, padding=1, bias=norm == "none"),
            make_norm(norm, after),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _double_size(channels: int, upsampling: str) -> nn.Module:
    if upsampling == "transposed":
        return nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)
    return nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)


class UNet256(nn.Module):
    """The generator of the Pix2Pix paper for 256 px: eight halvings, skips, dropout in three of the decoder's levels.

    With 64 filters and three channels in and out it has 54.41 million parameters.

    Parameters
    ----------
    in_channels, out_channels : int
        Colour bands in, logits out. Where the paper puts out tanh(z), this puts out 2 z: tanh(z) = 2 sigmoid(2 z) - 1.
    width : int
        Filters of the first level.
    dropout : float
        Share dropped in the decoder's first three levels after the innermost; off in evaluation.

    References
    ----------
    Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks (2017),
    arXiv:1611.07004, appendix 6.1.
    """

    def __init__(self, in_channels: int, out_channels: int, *, width: int = 64, dropout: float = 0.5) -> None:
        super().__init__()
        widths = [width, width * 2, width * 4, *[width * 8] * 5]
        self.multiple = 2 ** len(widths)
        self.encoder = nn.ModuleList(
            _down(before, after, first=level == 0, last=level == len(widths) - 1)
            for level, (before, after) in enumerate(zip([in_channels, *widths], widths, strict=False))
        )
        ups = []
        for level in reversed(range(len(widths))):
            inner = widths[level] if level == len(widths) - 1 else widths[level] * 2
            outer = widths[level - 1] if level else out_channels
            ups.append(_up(inner, outer, last=level == 0, dropout=dropout if 4 <= level <= 6 else 0.0))
        self.decoder = nn.ModuleList(ups)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (N, out_channels, H, W) for an image of shape (N, in_channels, H, W)."""
        height, width = image.shape[-2:]
        x = pad_to_multiple(image * 2 - 1, self.multiple)
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        logits: torch.Tensor = self.decoder[0](skips.pop())
        for block in self.decoder[1:]:
            logits = block(torch.cat([logits, skips.pop()], dim=1))
        return 2 * logits[..., :height, :width]


def _down(before: int, after: int, *, first: bool, last: bool) -> nn.Sequential:
    layers: list[nn.Module] = [] if first else [nn.LeakyReLU(0.2)]
    layers.append(nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1, bias=first or last))
    if not first and not last:
        layers.append(nn.BatchNorm2d(after))
    return nn.Sequential(*layers)


def _up(before: int, after: int, *, last: bool, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.ReLU(),
        nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1, bias=last),
    ]
    if not last:
        layers.append(nn.BatchNorm2d(after))
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)
