"""What JPEG compression does to a batch of images, in torch.

Only what loses something is done: chroma at half resolution, and coefficients of 8 x 8 blocks quantised by the tables of
the standard (ITU-T T.81, annex K), scaled by quality as libjpeg scales them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

__all__ = ["compress"]

LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)

CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)

TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))

BLOCK = 8
UNIT = 2 * BLOCK
"""Pixels of a side of what one block of chroma covers."""


def compress(image: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """Return images as they are after compression.

    Parameters
    ----------
    image : float tensor of shape (N, 3, H, W)
        Red, green and blue of 0 to 1.
    quality : tensor of shape (N,)
        1 to 100.
    """
    height, width = image.shape[2:]
    levels = F.pad((image * 255).round(), (0, -width % UNIT, 0, -height % UNIT), mode="replicate")
    ycc = torch.einsum("nchw,dc->ndhw", levels, levels.new_tensor(TO_YCC)).round()
    scale = torch.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    luma = _quantise(ycc[:, :1] - 128, _table(LUMA, scale)) + 128
    chroma = _quantise(F.avg_pool2d(ycc[:, 1:], 2).round(), _table(CHROMA, scale))
    # The triangle filter of libjpeg's decoder.
    chroma = F.interpolate(chroma.clamp(-128, 127), scale_factor=2, mode="bilinear", align_corners=False)
    ycc = torch.cat([luma.clamp(0, 255), chroma], dim=1)
    rgb = torch.einsum("nchw,dc->ndhw", ycc, ycc.new_tensor(TO_RGB)).round().clamp(0, 255)
    return rgb[..., :height, :width] / 255


def _table(base: tuple[int, ...], scale: torch.Tensor) -> torch.Tensor:
    """Return the steps of the coefficients for each image, of shape (N, 1, 1, 8, 1, 8)."""
    steps = (torch.tensor(base, device=scale.device) * scale[:, None] + 50) // 100
    return steps.clamp(1, 255).float().view(-1, 1, 1, BLOCK, 1, BLOCK)


def _quantise(levels: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Return levels around 0 after their 8 x 8 blocks' cosine coefficients were rounded to steps."""
    count, channels, height, width = levels.shape
    basis = _cosines(levels.device)
    blocks = levels.reshape(count, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    coefficients = torch.einsum("ui,ncaibj,vj->ncaubv", basis, blocks, basis)
    coefficients = (coefficients / table).round() * table
    return torch.einsum("ui,ncaubv,vj->ncaibj", basis, coefficients, basis).reshape(levels.shape).round()


def _cosines(device: torch.device) -> torch.Tensor:
    """Return the orthonormal matrix of the discrete cosine transform."""
    number = torch.arange(BLOCK, device=device, dtype=torch.float32)
    basis = torch.cos(math.pi / BLOCK * (number + 0.5) * number[:, None]) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    return basis
