"""Generators and the discriminator, and the names by which a configuration asks for them."""

from __future__ import annotations

from torch import nn

from geofootprint.config import GeneratorConfig
from geofootprint.errors import OptionError
from geofootprint.learning.networks.patchgan import PatchGAN
from geofootprint.learning.networks.smp import SMPGenerator, build_smp, load_encoder
from geofootprint.learning.networks.statistics import window_statistics
from geofootprint.learning.networks.unet import UNet, UNet256

__all__ = ["PatchGAN", "UNet", "UNet256", "build_generator", "load_pretrained", "window_statistics"]


def build_generator(settings: GeneratorConfig, in_channels: int, out_channels: int) -> nn.Module:
    """Build the generator that settings ask for.

    Parameters
    ----------
    settings : GeneratorConfig
        Its name is ``unet`` (light, for any size), ``unet256`` (the paper's), or ``smp:ARCHITECTURE:ENCODER`` for one
        of segmentation_models_pytorch, for example ``smp:unet:resnet34``. Pre-trained weights are not loaded; see
        `load_pretrained`.
    in_channels, out_channels : int
        Colour bands in, classes out.

    Returns
    -------
    torch.nn.Module
        From (N, in_channels, H, W) floats of 0 to 1 to (N, out_channels, H, W) logits, for any H and W.

    Raises
    ------
    OptionError
        If there is no generator of that name.
    """
    name = settings.name
    if name == "unet":
        return UNet(
            in_channels, out_channels, width=settings.width, stride=settings.stride, norm=settings.norm,
            upsampling=settings.upsampling,
        )
    if name == "unet256":
        return UNet256(in_channels, out_channels, width=settings.width)
    if name.startswith("smp:"):
        return build_smp(name, in_channels, out_channels)
    raise OptionError(f"There is no generator '{name}'; use unet, unet256 or smp:ARCHITECTURE:ENCODER.")


def load_pretrained(generator: nn.Module, settings: GeneratorConfig, in_channels: int) -> None:
    """Give a new generator the pre-trained weights that settings ask for, if they do.

    Apart from `build_generator`, since a generator whose weights are in a checkpoint does without.

    Parameters
    ----------
    generator : torch.nn.Module
        As `build_generator` makes it of these settings and bands.
    settings : GeneratorConfig
    in_channels : int

    Raises
    ------
    OptionError, MissingFileError, ModelError
        If the generator has no such weights, or they cannot be loaded.
    """
    if not settings.encoder_weights:
        return
    if not isinstance(generator, SMPGenerator):
        raise OptionError(
            f"generator.encoder_weights are for smp:ARCHITECTURE:ENCODER, not for '{settings.name}'; leave them out."
        )
    load_encoder(generator, settings.name, in_channels, settings.encoder_weights)
