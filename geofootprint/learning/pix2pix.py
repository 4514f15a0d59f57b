"""The two networks of Pix2Pix, their optimizers, and one step of each."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
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
    fabric : lightning_fabric.Fabric
        Device, precision and processes.

    Attributes
    ----------
    is_finite : bool
        Whether all gradients of the last step were; it was left out if not.
    discriminator_learns : bool
        False lets the discriminator judge as it is.

    References
    ----------
    Isola, Zhu, Zhou, Efros (2017), arXiv:1611.07004.
    """

    def __init__(self, config: TrainConfig, bands: int, fabric: Fabric) -> None:
        self.config = config
        self._fabric = fabric
        self._bands = bands
        generator = build_generator(config.generator, bands, len(config.data.classes))
        if config.generator.name == "unet256":
            generator.apply(_initialise_as_paper)
        discriminator = self._make_discriminator()
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
        self._statistics = _Statistics(self.generator.module, self.discriminator.module)
        self.is_finite = True
        self.discriminator_learns = True

    def _make_discriminator(self) -> nn.Module:
        config = self.config.discriminator
        network = PatchGAN(
            self._bands + len(self.config.data.classes), width=config.width, spectral_norm=config.spectral_norm
        )
        if self.config.generator.name == "unet256":
            network.apply(_initialise_as_paper)
        return network

    def reset_discriminator(self) -> None:
        """Give the discriminator new random weights, of torch's own seed, and let its optimizer forget."""
        self.discriminator.module.load_state_dict(self._make_discriminator().state_dict())
        self.discriminator_optimizer.optimizer.state.clear()

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

        A network whose gradients are not finite stays as it was.

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
        self._statistics.keep()
        self.is_finite = True
        logits = self._predict(batch.image)
        losses = self.discriminator_step(batch, logits.detach()) if adversarial else {}
        losses |= self.generator_step(batch, logits, adversarial=adversarial)
        if not self.is_finite:
            self._statistics.put_back()
        elif self.average is not None:
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
        if self.discriminator_learns:
            self.discriminator.requires_grad_(True)
            real, fake = self._tell_apart(self.discriminator, batch, logits)
            self._move(self.discriminator, self.discriminator_optimizer, (real + fake) / 2, longest=0.0)
        else:
            with torch.no_grad(), self._fabric.autocast():
                real, fake = self._tell_apart(self.discriminator.module, batch, logits)
        return {"discriminator_real": real.detach(), "discriminator_fake": fake.detach()}

    def _tell_apart(self, discriminator: Any, batch: Batch, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        image = batch.image * 2 - 1
        real = adversarial_loss(discriminator(image, self._shown(batch.target, batch.valid)), real=True)
        fake = adversarial_loss(discriminator(image, self._shown(torch.sigmoid(logits), batch.valid)), real=False)
        return real, fake

    def generator_step(self, batch: Batch, logits: torch.Tensor, *, adversarial: float) -> dict[str, torch.Tensor]:
        """Teach the generator to match the labels and to look true to the discriminator."""
        losses = self._label_losses(batch, logits)
        if adversarial:
            losses["adversarial"] = self._judge(batch, logits)
        weights = {name: getattr(self.config.loss, name) for name in losses}
        weights["adversarial"] = self.config.loss.adversarial * adversarial
        terms = [weights[name] * value for name, value in losses.items() if weights[name]]
        self._move(
            self.generator, self.generator_optimizer, torch.stack(terms).sum(), longest=self.config.optimizer.clip
        )
        return {name: value.detach() for name, value in losses.items()}

    def _move(self, network: Any, optimizer: Any, loss: torch.Tensor, *, longest: float) -> None:
        """Move weights along a loss's gradients, shortened to `longest` if that is not 0, or not at all if any is not finite.

        To look makes the device's commands wait for each other, once a network and step; that is far less than a step.
        """
        optimizer.zero_grad()
        self._fabric.backward(loss)
        length: Any = self._fabric.clip_gradients(
            network, optimizer, max_norm=longest or math.inf, error_if_nonfinite=False
        )
        if self._has_scaler:
            # In 16 bit, gradients overflow now and then; their scaler leaves the step out itself and is more careful.
            optimizer.step()
            self.is_finite &= bool(torch.isfinite(loss))
        elif bool(torch.isfinite(length)):
            optimizer.step()
        else:
            self.is_finite = False

    @property
    def _has_scaler(self) -> bool:
        return getattr(self._fabric.strategy.precision, "scaler", None) is not None

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

    def start_from(self, weights: Mapping[str, torch.Tensor], name: str) -> None:
        """Start the generator, and its average, from those of another run.

        Parameters
        ----------
        weights : mapping of str to tensor
            State of a generator.
        name : str
            What messages call its source.

        Raises
        ------
        ModelError
            If it is that of another one.
        """
        try:
            self.generator.module.load_state_dict(weights)
        except RuntimeError as error:
            raise ModelError(f"{name} does not hold the generator that it describes; give another file.") from error
        if self.average is not None:
            self.average.network.load_state_dict(weights)


class _Statistics:
    """What networks keep of the batches they saw, so that a bad one can be forgotten.

    Parameters
    ----------
    *networks : torch.nn.Module
    """

    def __init__(self, *networks: nn.Module) -> None:
        self._own = [buffer for network in networks for buffer in network.buffers()]
        self._kept = [buffer.clone() for buffer in self._own]

    def keep(self) -> None:
        """Note how they are."""
        _copy(self._kept, self._own)

    def put_back(self) -> None:
        """Make them as they were noted."""
        _copy(self._own, self._kept)


def _copy(to: list[torch.Tensor], values: list[torch.Tensor]) -> None:
    if to:
        with torch.no_grad():
            torch._foreach_copy_(to, values)  # one command to the device and not a hundred


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


def _initialise_as_paper(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), and those of batch normalisation from N(1, 0.02), as the paper's code does."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
