"""Architectures and encoders of segmentation_models_pytorch as generators."""

from __future__ import annotations

import torch
from torch import nn

from geofootprint.errors import MissingDependencyError, OptionError
from geofootprint.learning.networks.padding import pad_to_multiple

__all__ = ["SMPGenerator", "build_smp"]

MULTIPLE = 32
"""Encoders halve five times."""

ENCODER_MEAN = (0.485, 0.456, 0.406)
ENCODER_STD = (0.229, 0.224, 0.225)
"""What the weights of the encoders, trained on ImageNet, expect."""


class SMPGenerator(nn.Module):
    """Gives a segmentation model of segmentation_models_pytorch any input size and inputs of 0 to 1.

    Parameters
    ----------
    network : torch.nn.Module
        Takes what ImageNet's statistics normalise, in multiples of 32 px.
    in_channels : int
        Colour bands.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, in_channels: int) -> None:
        super().__init__()
        self.network = network
        # Bands beyond red, green and blue take the mean of the three.
        mean = torch.tensor([*ENCODER_MEAN, *[0.449] * in_channels][:in_channels])
        std = torch.tensor([*ENCODER_STD, *[0.226] * in_channels][:in_channels])
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("std", std.view(1, -1, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (N, K, H, W) for an image of shape (N, C, H, W)."""
        height, width = image.shape[-2:]
        logits: torch.Tensor = self.network(pad_to_multiple((image - self.mean) / self.std, MULTIPLE))
        return logits[..., :height, :width]


def build_smp(name: str, in_channels: int, out_channels: int) -> SMPGenerator:
    """Build ``smp:ARCHITECTURE:ENCODER`` without pre-trained weights.

    Raises
    ------
    OptionError
        If the name is incomplete, or the package does not know the architecture or the encoder.
    MissingDependencyError
        If segmentation_models_pytorch is not installed.
    """
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        raise MissingDependencyError(
            f"The generator '{name}' needs segmentation-models-pytorch; install geofootprint[train]."
        ) from error
    parts = name.split(":")
    if len(parts) != 3:
        raise OptionError(f"The generator '{name}' is incomplete; write smp:ARCHITECTURE:ENCODER, as in smp:unet:resnet34.")
    try:
        network = smp.create_model(
            parts[1], encoder_name=parts[2], encoder_weights=None, in_channels=in_channels, classes=out_channels
        )
    except (KeyError, ValueError) as error:
        raise OptionError(f"segmentation_models_pytorch cannot build '{name}': {str(error).splitlines()[0]}") from error
    return SMPGenerator(network, in_channels)
