"""Losses of generator and discriminator, each over valid pixels alone and in float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["adversarial_loss", "bce_loss", "dice_loss", "l1_loss"]


def bce_loss(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return the mean binary cross-entropy over valid pixels.

    Parameters
    ----------
    logits, target : tensors of shape (N, H, W)
        Target of 0 to 1.
    valid : tensor of shape (N, H, W)
        1 where labels are known, 0 elsewhere.
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return (loss * valid).sum() / valid.sum().clamp(min=1)


def dice_loss(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return 1 - Dice of the whole batch, with probabilities in place of a mask.

    Over the batch and not image by image: a crop without buildings would have a Dice of 0 or 1 by chance.
    Shapes as of `bce_loss`.
    """
    probability = torch.sigmoid(logits.float()) * valid
    target = target * valid
    overlap = (probability * target).sum()
    smooth = 1.0  # one pixel: keeps a batch without buildings finite
    return 1 - (2 * overlap + smooth) / (probability.sum() + target.sum() + smooth)


def l1_loss(predicted: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference over valid pixels and all channels.

    Parameters
    ----------
    predicted, target : tensors of shape (N, K, H, W)
    valid : tensor of shape (N, H, W)
    """
    difference = (predicted.float() - target).abs().mean(dim=1)
    return (difference * valid).sum() / valid.sum().clamp(min=1)


def adversarial_loss(logits: torch.Tensor, *, real: bool) -> torch.Tensor:
    """Return the binary cross-entropy of a discriminator's logits against all real or all predicted.

    The loss of the original GAN in its non-saturating form: the generator takes it with ``real=True`` for what it
    made (Goodfellow et al. 2014, arXiv:1406.2661).
    """
    target = torch.full_like(logits, float(real), dtype=torch.float32)
    return F.binary_cross_entropy_with_logits(logits.float(), target)
