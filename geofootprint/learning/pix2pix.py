"""The two networks of Pix2Pix, their optimizers, and one step of each."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel

from geofootprint.config import TrainConfig
from geofootprint.errors import ModelError
from geofootprint.learning.dataset import Batch
from geofootprint.learning.losses import adversarial_loss, bce_loss, dice_loss, l1_loss
from geofootprint.learning.networks import PatchGAN, build_generator

__all__ = ["CLASSES", "Pix2Pix"]

CLASSES = ("building", "contour")
"""Channels of the generator's output."""


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
        generator = build_generator(
            config.generator.name, bands, len(CLASSES), width=config.generator.width, stride=config.generator.stride
        )
        discriminator: nn.Module = PatchGAN(
            bands + len(CLASSES), width=config.discriminator.width, spectral_norm=config.discriminator.spectral_norm
        )
        if config.generator.name == "unet256":
            generator.apply(_initialise_as_paper)
            discriminator.apply(_initialise_as_paper)
        if fabric.world_size > 1:
            generator = nn.SyncBatchNorm.convert_sync_batchnorm(generator)
            discriminator = nn.SyncBatchNorm.convert_sync_batchnorm(discriminator)
        rates, betas = config.optimizer, (config.optimizer.beta1, 0.999)
        generator_optimizer = torch.optim.AdamW(
            generator.parameters(), rates.learning_rate, betas, weight_decay=rates.weight_decay
        )
        discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), rates.discriminator_rate, betas)
        channels_last: Any = torch.channels_last
        self.generator, self.generator_optimizer = fabric.setup(
            generator.to(memory_format=channels_last), generator_optimizer
        )
        self.discriminator, self.discriminator_optimizer = fabric.setup(
            discriminator.to(memory_format=channels_last), discriminator_optimizer
        )
        self.average = AveragedModel(
            self.generator.module, avg_fn=_Average(rates.ema), use_buffers=True
        ) if rates.ema else None

    @property
    def predictor(self) -> nn.Module:
        """The generator that is validated and exported: the moving average where there is one."""
        return self.average.module if self.average is not None else self.generator.module

    def set_rate(self, factor: float) -> None:
        """Set both learning rates to a share of their highest."""
        for optimizer, rate in (
            (self.generator_optimizer, self.config.optimizer.learning_rate),
            (self.discriminator_optimizer, self.config.optimizer.discriminator_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor

    def step(self, batch: Batch, *, adversarial: bool) -> dict[str, torch.Tensor]:
        """Do one step: forward, the discriminator's, the generator's.

        Parameters
        ----------
        batch : Batch
        adversarial : bool
            False leaves the discriminator out.

        Returns
        -------
        dict of str to scalar tensor
            The losses before their weights.
        """
        logits = self.generator(batch.image)
        losses = self.discriminator_step(batch, logits.detach()) if adversarial else {}
        losses |= self.generator_step(batch, logits, adversarial=adversarial)
        if self.average is not None:
            self.average.update_parameters(self.generator.module)
        return losses

    def discriminator_step(self, batch: Batch, logits: torch.Tensor) -> dict[str, torch.Tensor]:
        """Teach the discriminator to tell true labels from predicted ones; the mean of both losses, as in the paper."""
        self.discriminator.requires_grad_(True)
        image = batch.image * 2 - 1
        real = adversarial_loss(self.discriminator(image, self._shown(batch.target, batch.valid)), real=True)
        fake = adversarial_loss(self.discriminator(image, self._shown(torch.sigmoid(logits), batch.valid)), real=False)
        loss = (real + fake) / 2
        self.discriminator_optimizer.zero_grad()
        self._fabric.backward(loss)
        self.discriminator_optimizer.step()
        return {"discriminator_real": real.detach(), "discriminator_fake": fake.detach()}

    def generator_step(self, batch: Batch, logits: torch.Tensor, *, adversarial: bool) -> dict[str, torch.Tensor]:
        """Teach the generator to match the labels and to look true to the discriminator."""
        weights = self.config.loss
        building, contour = batch.target[:, 0], batch.target[:, 1]
        # The paper's labels and outputs are of -1 to 1: differences there are twice those of probabilities.
        losses = {
            "bce": bce_loss(logits[:, 0], building, batch.valid),
            "dice": dice_loss(logits[:, 0], building, batch.valid),
            "contour": bce_loss(logits[:, 1], contour, batch.valid) + dice_loss(logits[:, 1], contour, batch.valid),
            "l1": 2 * l1_loss(torch.sigmoid(logits), batch.target, batch.valid),
        }
        loss = sum(getattr(weights, name) * value for name, value in losses.items())
        if adversarial:
            # The generator's gradient passes through the discriminator, but must not move it.
            self.discriminator.requires_grad_(False)
            shown = self._shown(torch.sigmoid(logits), batch.valid)
            losses["adversarial"] = adversarial_loss(self.discriminator(batch.image * 2 - 1, shown), real=True)
            loss = loss + weights.adversarial * losses["adversarial"]
        self.generator_optimizer.zero_grad()
        self._fabric.backward(loss)
        nn.utils.clip_grad_norm_(self.generator.parameters(), max_norm=10.0)
        self.generator_optimizer.step()
        return {name: value.detach() for name, value in losses.items()}

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
            "generator_ema": self.average.module.state_dict() if self.average is not None else None,
            "averaged": int(self.average.n_averaged) if self.average is not None else 0,
            "discriminator": self.discriminator.module.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
        }

    def load_generator(self, weights: dict[str, torch.Tensor], name: str) -> None:
        """Start the generator, and its average, from other weights.

        Raises
        ------
        ModelError
            If the weights are of another architecture; `name` is what the message calls their source.
        """
        try:
            self.generator.module.load_state_dict(weights)
        except RuntimeError as error:
            raise ModelError(
                f"{name} holds another architecture than {self.config.generator}; use the configuration it was made with."
            ) from error
        if self.average is not None:
            self.average.module.load_state_dict(weights)

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.generator.module.load_state_dict(state["generator"])
        self.discriminator.module.load_state_dict(state["discriminator"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        if self.average is not None:
            self.average.module.load_state_dict(state["generator_ema"])
            self.average.n_averaged.fill_(state["averaged"])


class _Average:
    """A moving average that starts short: the first weights are random, and must be forgotten soon."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def __call__(self, average: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        if not average.is_floating_point():
            return current
        decay = min(self.decay, (1 + int(count)) / (10 + int(count)))
        return torch.lerp(average, current.to(average.dtype), 1 - decay)


def _initialise_as_paper(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), and those of batch normalisation from N(1, 0.02), as the paper's code does."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
