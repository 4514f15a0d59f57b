"""Architectures and encoders of segmentation_models_pytorch as generators."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geofootprint.errors import MissingDependencyError, MissingFileError, ModelError, OptionError
from geofootprint.learning.networks.padding import pad_to_multiple

__all__ = ["SMPGenerator", "build_smp", "load_encoder"]

MULTIPLE = 32
"""Encoders halve five times."""

MULTIPLES = {"pan": 128}
"""Where the decoder halves further."""

SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
"""Of files of weights; what ends otherwise is the name of weights on the hub."""

ENCODER_MEAN = (0.485, 0.456, 0.406)
ENCODER_STD = (0.229, 0.224, 0.225)
"""What the weights of the encoders, trained on ImageNet, expect."""


class SMPGenerator(nn.Module):
    """Gives a segmentation model of segmentation_models_pytorch any input size and inputs of 0 to 1.

    Parameters
    ----------
    network : torch.nn.Module
        Takes what ImageNet's statistics normalise.
    in_channels : int
        Colour bands.
    multiple : int
        Height and width that the network takes are multiples of so many pixels.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, in_channels: int, *, multiple: int = MULTIPLE) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple
        # Bands beyond red, green and blue take the mean of the three.
        mean = torch.tensor([*ENCODER_MEAN, *[0.449] * in_channels][:in_channels])
        std = torch.tensor([*ENCODER_STD, *[0.226] * in_channels][:in_channels])
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("std", std.view(1, -1, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (N, K, H, W) for an image of shape (N, C, H, W)."""
        height, width = image.shape[-2:]
        logits: torch.Tensor = self.network(pad_to_multiple((image - self.mean) / self.std, self.multiple))
        return logits[..., :height, :width]


def build_smp(name: str, in_channels: int, out_channels: int, *, weights: str | None = None) -> SMPGenerator:
    """Build ``smp:ARCHITECTURE:ENCODER``.

    Parameters
    ----------
    name : str
    in_channels, out_channels : int
    weights : str, optional
        Name of pre-trained weights of the encoder that segmentation_models_pytorch knows; it adapts the first
        convolution to the bands.

    Raises
    ------
    OptionError
        If the name is incomplete, the package does not know the architecture, the encoder or the weights, or these
        cannot be downloaded.
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
            parts[1], encoder_name=parts[2], encoder_weights=weights, in_channels=in_channels, classes=out_channels
        )
    except OSError as error:  # whatever fails on the way to a hub; some of it is a ValueError too
        raise OptionError(
            f"The weights '{weights}' of '{name}' cannot be downloaded ({str(error).splitlines()[0]}); download them "
            "elsewhere and give their file as generator.encoder_weights."
        ) from error
    except (KeyError, ValueError) as error:
        reason = str(error.args[0] if error.args else error).splitlines()[0]  # a KeyError's text is in quotes
        raise OptionError(f"segmentation_models_pytorch cannot build '{name}': {reason}") from error
    return SMPGenerator(network, in_channels, multiple=MULTIPLES.get(parts[1].lower(), MULTIPLE))


def load_encoder(generator: SMPGenerator, name: str, in_channels: int, weights: str) -> None:
    """Give the encoder of a generator pre-trained weights.

    Weights for three bands are adapted to others as segmentation_models_pytorch does it: for one band they are added up,
    for more they are repeated and scaled.

    Parameters
    ----------
    generator : SMPGenerator
        Made of `name` and `in_channels`.
    name : str
        ``smp:ARCHITECTURE:ENCODER``.
    in_channels : int
    weights : str
        File of the encoder's weights (.pth, .pt, .bin or .safetensors), or a name as of `build_smp`.

    Raises
    ------
    MissingFileError
        If the file does not exist.
    ModelError
        If the file holds no weights, or those of another encoder.
    OptionError
        If the package does not know the name, or cannot download the weights.
    """
    pretrained: Any
    if Path(weights).suffix in SUFFIXES:
        pretrained = build_smp(name, 3, 1).network.encoder
        _fill(pretrained, _read_weights(Path(weights)), weights, name)
        pretrained.set_in_channels(in_channels, pretrained=True)
    else:
        pretrained = build_smp(name, in_channels, 1, weights=weights).network.encoder
    ours: Any = generator.network.encoder
    ours.load_state_dict(pretrained.state_dict())


def _fill(encoder: nn.Module, values: dict[str, torch.Tensor], path: str, name: str) -> None:
    # A checkpoint of a whole network of the package has the encoder's weights under this prefix.
    inner = {key.removeprefix("encoder."): value for key, value in values.items() if key.startswith("encoder.")}
    try:
        encoder.load_state_dict(inner or values)
    except (RuntimeError, AttributeError, KeyError) as error:
        raise ModelError(
            f"{path} does not hold the weights of the encoder of '{name}'; give those of this encoder for three bands."
        ) from error


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; check generator.encoder_weights.")
    try:
        values: Any = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise ModelError(f"{path} holds no weights, is damaged, or would run code; give a file of weights alone.") from error
    if isinstance(values, dict):
        values = values.get("state_dict", values)
    if not isinstance(values, dict) or not all(isinstance(value, torch.Tensor) for value in values.values()):
        raise ModelError(f"{path} holds something else than weights; save the encoder's state_dict() alone.")
    return dict(values)


def _read_torch(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
