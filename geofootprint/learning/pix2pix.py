"""The two networks of Pix2Pix, their optimizers, and one step of each."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import nn

from geofootprint.config import TrainConfig
from geofootprint.errors import ModelError, OptionError
from geofootprint.learning.batches import Batch
from geofootprint.learning.losses import adversarial_loss, bce_loss, dice_loss, l1_loss
from geofootprint.learning.networks import PatchGAN, build_generator, load_pretrained
from geofootprint.learning.networks.norm import share_batch_norm

__all__ = ["LOSSES", "Average", "Pix2Pix"]

LOSSES = ("bce", "dice", "contour", "touch", "l1", "adversarial", "discriminator_real", "discriminator_fake")
"""What `Pix2Pix.step` returns; contour and touch where there are such channels."""


class Pix2Pix:
    """A generator that predicts labels, a discriminator that judges them, and how both learn.

    Parameters
    ----------
    config : TrainConfig
    bands : int
        Colour bands of the image.
    fabric : lightning.fabric.Fabric
        Device, precision and processes.

    References
    ----------
    Isola, Zhu, Zhou, Efros (2017), arXiv:1611.07004.
    """

    def __init__(self, config: TrainConfig, bands: int, fabric: Fabric) -> None:
        self.config = config
        self._fabric = fabric
        self._bands = bands
        classes = config.data.classes
        generator = build_generator(config.generator, bands, len(classes))
        discriminator: nn.Module = PatchGAN(
            bands + len(classes), width=config.discriminator.width, spectral_norm=config.discriminator.spectral_norm
        )
        if config.generator.name == "unet256":
            generator.apply(_initialise_as_paper)
            discriminator.apply(_initialise_as_paper)
        rates, betas = config.optimizer, (config.optimizer.beta1, 0.999)
        # One pass over the weights instead of ten. With float16 it would scale gradients itself, before they are clipped.
        fused = getattr(fabric.strategy.precision, "scaler", None) is None
        self.generator, self.generator_optimizer = self._set_up(
            generator,
            torch.optim.AdamW(
                generator.parameters(), rates.learning_rate, betas, weight_decay=rates.weight_decay, fused=fused
            ),
        )
        self.discriminator, self.discriminator_optimizer = self._set_up(
            discriminator, torch.optim.Adam(discriminator.parameters(), rates.discriminator_rate, betas, fused=fused)
        )
        self.average = Average(self.generator.module, rates.ema) if rates.ema else None

    def _set_up(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        if self._fabric.world_size > 1:
            network = share_batch_norm(network, self._fabric.device)
        channels_last: Any = torch.channels_last  # mypy knows no overload for modules
        together: tuple[Any, Any] = self._fabric.setup(network.to(memory_format=channels_last), optimizer)
        return together

    @property
    def predictor(self) -> nn.Module:
        """The generator that is validated and exported: the moving average where there is one."""
        network: nn.Module = self.generator.module if self.average is None else self.average.network
        return network

    def compile(self) -> None:
        """Fuse the generator's steps when it is next called; its weights, and copies of it, stay as they are.

        The discriminator stays as it is: its convolutions leave little to fuse.
        """
        self.generator.module.compile()

    def set_rate(self, factor: float) -> None:
        """Set both learning rates to a share of their highest."""
        for optimizer, rate in (
            (self.generator_optimizer, self.config.optimizer.learning_rate),
            (self.discriminator_optimizer, self.config.optimizer.discriminator_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor

    def step(self, batch: Batch, *, adversarial: float) -> dict[str, torch.Tensor]:
        """Do one step: forward, the discriminator's, the generator's.

        Parameters
        ----------
        batch : Batch
        adversarial : float
            Share of its weight that the adversarial loss has; 0 leaves the discriminator out.

        Returns
        -------
        dict of str to scalar tensor
            The losses before their weights, by the names of `LOSSES`; they stay on the device.

        Raises
        ------
        OptionError
            If the crops are too few or too small for batch normalisation.
        """
        logits = self._predict(batch.image)
        losses = self.discriminator_step(batch, logits.detach()) if adversarial else {}
        losses |= self.generator_step(batch, logits, adversarial=adversarial)
        if self.average is not None:
            self.average.update(self.generator.module)
        return losses

    def _predict(self, image: torch.Tensor) -> torch.Tensor:
        try:
            logits: torch.Tensor = self.generator(image)
        except (ValueError, RuntimeError) as error:  # the second from a compiled network
            if "more than 1 value per channel" not in str(error):
                raise
            raise OptionError(
                f"Batch normalisation in {self.config.generator.name} needs more than {len(image)} crop(s) of "
                f"{image.shape[-1]} px at once; raise data.batch or data.patch in a --config file."
            ) from error
        return logits

    def discriminator_step(self, batch: Batch, logits: torch.Tensor) -> dict[str, torch.Tensor]:
        """Teach the discriminator to tell true labels from predicted ones; the mean of both losses, as in the paper."""
        self.discriminator.requires_grad_(True)
        image = batch.image * 2 - 1
        real = adversarial_loss(self.discriminator(image, self._shown(batch.target, batch.valid)), real=True)
        fake = adversarial_loss(self.discriminator(image, self._shown(torch.sigmoid(logits), batch.valid)), real=False)
        self.discriminator_optimizer.zero_grad()
        self._fabric.backward((real + fake) / 2)
        self.discriminator_optimizer.step()
        return {"discriminator_real": real.detach(), "discriminator_fake": fake.detach()}

    def generator_step(self, batch: Batch, logits: torch.Tensor, *, adversarial: float) -> dict[str, torch.Tensor]:
        """Teach the generator to match the labels and to look true to the discriminator."""
        losses = self._label_losses(batch, logits)
        if adversarial:
            losses["adversarial"] = self._judge(batch, logits)
        weights = {name: getattr(self.config.loss, name) for name in losses}
        weights["adversarial"] = self.config.loss.adversarial * adversarial
        terms = [weights[name] * value for name, value in losses.items() if weights[name]]
        self.generator_optimizer.zero_grad()
        self._fabric.backward(torch.stack(terms).sum())
        clip = self.config.optimizer.clip
        if clip:
            self._fabric.clip_gradients(
                self.generator, self.generator_optimizer, max_norm=clip, error_if_nonfinite=False
            )
        self.generator_optimizer.step()
        return {name: value.detach() for name, value in losses.items()}

    def _label_losses(self, batch: Batch, logits: torch.Tensor) -> dict[str, torch.Tensor]:
        bce, dice = (
            [loss(logits[:, channel], batch.target[:, channel], batch.valid) for channel in range(logits.shape[1])]
            for loss in (bce_loss, dice_loss)
        )
        losses = {"bce": bce[0], "dice": dice[0]}
        for channel, name in enumerate(self.config.data.classes[1:], start=1):
            losses[name] = bce[channel] + dice[channel]
        # The paper's labels and outputs are of -1 to 1: differences there are twice those of probabilities.
        losses["l1"] = 2 * l1_loss(torch.sigmoid(logits), batch.target, batch.valid)
        return losses

    def _judge(self, batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        # The generator's gradient passes through the discriminator, but must not move it. Through the bare module:
        # the one for several processes waits for gradients of its own weights, which do not come.
        self.discriminator.requires_grad_(False)
        shown = self._shown(torch.sigmoid(logits), batch.valid)
        with self._fabric.autocast():
            judged = self.discriminator.module(batch.image * 2 - 1, shown)
        return adversarial_loss(judged, real=True)

    def _shown(self, labels: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return what the discriminator sees of true or predicted labels: -1 to 1, nothing where none are known."""
        shown = (labels.float() * 2 - 1) * valid[:, None]
        noise = self.config.discriminator.noise
        if noise:
            shown = F.avg_pool2d(shown, kernel_size=3, stride=1, padding=1) + noise * torch.randn_like(shown)
        return shown

    def state(self) -> dict[str, Any]:
        """Return all that learning goes on from."""
        return {
            "generator": self.generator.module.state_dict(),
            "generator_ema": None if self.average is None else self.average.network.state_dict(),
            "averaged": 0 if self.average is None else self.average.count,
            "discriminator": self.discriminator.module.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "scaler": self._fabric.strategy.precision.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any], name: str) -> None:
        """Go on from what `state` returned.

        Raises
        ------
        ModelError
            If it is of other networks; `name` is what the message calls its source.
        """
        try:
            self.generator.module.load_state_dict(state["generator"])
            self.discriminator.module.load_state_dict(state["discriminator"])
            self.generator_optimizer.load_state_dict(state["generator_optimizer"])
            self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
            if self.average is not None:
                self.average.network.load_state_dict(state["generator_ema"])
                self.average.count = state["averaged"]
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{name} does not hold the networks that its configuration asks for; begin a new run, with --init-from "
                "if only the discriminator changed."
            ) from error
        if state.get("scaler"):
            self._fabric.strategy.precision.load_state_dict(state["scaler"])

    def start_pretrained(self) -> None:
        """Start the generator, and its average, from the pre-trained weights that the configuration asks for, if any.

        Raises
        ------
        OptionError, MissingFileError, ModelError
            If they cannot be loaded.
        """
        generator = self.generator.module
        load_pretrained(generator, self.config.generator, self._bands)
        if self.average is not None:
            self.average.network.load_state_dict(generator.state_dict())

    def start_from(self, state: Mapping[str, Any], name: str) -> None:
        """Start the generator, and its average, from those of another run.

        Parameters
        ----------
        state : mapping
            A checkpoint.
        name : str
            What messages call it.

        Raises
        ------
        ModelError
            If its generator is another one.
        """
        try:
            weights = state["networks"]["generator_ema"] or state["networks"]["generator"]
            self.generator.module.load_state_dict(weights)
        except (RuntimeError, KeyError, TypeError) as error:
            theirs, ours = state.get("config", {}).get("generator", {}), asdict(self.config.generator)
            raise ModelError(
                f"{name} does not hold this run's generator ({_describe(ours)}) but another ({_describe(theirs)}), or is "
                "for images of other bands; give the config.toml of its run as --config."
            ) from error
        if self.average is not None:
            self.average.network.load_state_dict(weights)


class Average:
    """A copy of a network that follows it slowly: its weights are a moving average.

    Parameters
    ----------
    network : torch.nn.Module
    decay : float
        Share of the average that stays at each update; less in the beginning, since the first weights are random and
        must be forgotten soon.

    Attributes
    ----------
    network : torch.nn.Module
        The copy, always in evaluation mode; the statistics of its batch normalisation are averaged like its weights.
    count : int
        Updates so far.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.count = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards the network's weights; the first update takes them as they are."""
        stays = min(self.decay, (1 + self.count) / (10 + self.count)) if self.count else 0.0
        current = network.state_dict()
        for name, average in self.network.state_dict().items():
            if average.is_floating_point():
                average.lerp_(current[name], 1 - stays)
            else:
                average.copy_(current[name])
        self.count += 1


def _describe(generator: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in generator.items())


def _initialise_as_paper(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), and those of batch normalisation from N(1, 0.02), as the paper's code does."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
