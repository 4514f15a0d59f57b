"""The discriminator of Pix2Pix, which judges patches of 70 x 70 pixels."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["PatchGAN"]


class PatchGAN(nn.Module):
    """Judges whether labels belong to an image, patch by patch: one logit for each 70 x 70 px, every 8 px.

    With 64 filters and six channels it has 2.77 million parameters; 256 px give 30 x 30 logits.

    Parameters
    ----------
    in_channels : int
        Channels of image and labels together.
    width : int
        Filters of the first layer.
    spectral_norm : bool
        Bound the gain of each layer but the last instead of normalising batches (Miyato et al. 2018,
        arXiv:1802.05957).

    References
    ----------
    Isola, Zhu, Zhou, Efros (2017), arXiv:1611.07004, appendix 6.1.2.
    """

    def __init__(self, in_channels: int, *, width: int = 64, spectral_norm: bool = False) -> None:
        super().__init__()
        widths = [width, width * 2, width * 4, width * 8]
        layers: list[nn.Module] = []
        for level, (before, after) in enumerate(zip([in_channels, *widths], widths, strict=False)):
            normalised = level > 0 and not spectral_norm
            stride = 2 if level < 3 else 1
            layer: nn.Module = nn.Conv2d(before, after, 4, stride, padding=1, bias=not normalised)
            layers.append(nn.utils.parametrizations.spectral_norm(layer) if spectral_norm else layer)
            if normalised:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(0.2))
        layers.append(nn.Conv2d(widths[-1], 1, 4, 1, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, image: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (N, 1, h, w), high where `labels` look true for `image`.

        Parameters
        ----------
        image : tensor of shape (N, C, H, W)
        labels : tensor of shape (N, K, H, W)
            Both of -1 to 1.
        """
        logits: torch.Tensor = self.layers(torch.cat([image, labels], dim=1))
        return logits
