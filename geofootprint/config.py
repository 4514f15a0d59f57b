"""How a model is trained: frozen settings from a preset, changed by a TOML file."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geofootprint.errors import InputError, MissingFileError, OptionError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "PRESETS",
    "DataConfig",
    "DiscriminatorConfig",
    "GeneratorConfig",
    "LossConfig",
    "OptimizerConfig",
    "TrainConfig",
    "from_dict",
    "load_config",
    "to_dict",
    "to_toml",
]


@dataclass(frozen=True)
class GeneratorConfig:
    """Which network predicts.

    Attributes
    ----------
    name : str
        ``unet``, ``unet256`` or ``smp:ARCHITECTURE:ENCODER``.
    width : int
        Filters of the first level of ``unet`` and ``unet256``.
    stride : int
        Pixels to a step of the first level of ``unet``.
    norm : {"batch", "channel", "none"}
        What normalises the levels of ``unet``: the batch, whose statistics are fixed at inference; the channels of
        each pixel; or nothing. None of them lets a prediction depend on its window.
    upsampling : {"bilinear", "transposed"}
        How ``unet`` doubles its resolution; transposed convolutions leave checkerboards.
    encoder_weights : str
        What the encoder of ``smp:...`` starts with: a file of its weights (.pth, .pt, .bin or .safetensors), the name of
        weights that segmentation_models_pytorch knows and downloads, such as ``imagenet``, or nothing.
    """

    name: str = "unet"
    width: int = 24
    stride: int = 2
    norm: str = "batch"
    upsampling: str = "bilinear"
    encoder_weights: str = ""


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Which network judges.

    Attributes
    ----------
    width : int
        Filters of the first layer of the 70 x 70 PatchGAN.
    spectral_norm : bool
        Bound the layers' gain instead of normalising batches.
    noise : float
        Standard deviation of the noise added to what it sees, true or predicted, both smoothed over 3 x 3 px: it
        cannot tell them by soft against hard edges. 0 shows them as they are, as in the paper.
    pause : bool
        Let it wait once it has won, so that the generator can catch up, and begin anew if that does not help. The
        paper's goes on learning.
    """

    width: int = 32
    spectral_norm: bool = True
    noise: float = 0.05
    pause: bool = True


@dataclass(frozen=True)
class LossConfig:
    """Weights of the generator's losses; 0 switches one off.

    Attributes
    ----------
    bce, dice : float
        Binary cross-entropy and soft Dice of the building channel.
    contour, touch : float
        Both of the contour channel, and of the touch channel if there is one.
    l1 : float
        Mean absolute difference of labels and prediction on the paper's scale of -1 to 1, all channels.
    adversarial : float
        Binary cross-entropy of the discriminator's judgement.
    adversarial_start : float
        Share of the training that passes before the discriminator sets in.
    adversarial_ramp : float
        Share of the training over which its weight then rises from 0.
    """

    bce: float = 1.0
    dice: float = 1.0
    contour: float = 0.5
    touch: float = 0.5
    l1: float = 0.25
    adversarial: float = 0.02
    adversarial_start: float = 0.8
    adversarial_ramp: float = 0.05


@dataclass(frozen=True)
class DataConfig:
    """What the networks see.

    Attributes
    ----------
    patch : int
        Side of a crop in pixels.
    batch : int
        Crops to a step, over all devices.
    scale : (float, float)
        Range of a crop's ground sampling distance as a multiple of the dataset's.
    rotation : float
        Share of crops turned by any angle; the others get one of the eight symmetries of the square.
    quarter_turns : bool
        False leaves two of the eight, as they are and mirrored left to right, as in the paper.
    colour : float
        Strength of changes of brightness, contrast and colour; 0 is off, 1 strong.
    shadow, blur, noise, jpeg : float
        Shares of crops with a cast shadow, blurred, with noise, and compressed.
    contour, touch : bool
        Whether there is a channel for the contours of buildings, and one for the walls that two of them share.
    crops_per_epoch : int
        Crops between two validations; 0 takes what covers the training tiles once, at least 1000.
    """

    patch: int = 256
    batch: int = 8
    scale: tuple[float, float] = (0.67, 2.0)
    rotation: float = 0.5
    quarter_turns: bool = True
    colour: float = 1.0
    shadow: float = 0.2
    blur: float = 0.3
    noise: float = 0.3
    jpeg: float = 0.3
    contour: bool = True
    touch: bool = False
    crops_per_epoch: int = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the channels of labels and predictions, in their order."""
        return ("building", *(name for name in ("contour", "touch") if getattr(self, name)))


@dataclass(frozen=True)
class OptimizerConfig:
    """How the weights move.

    Attributes
    ----------
    learning_rate, discriminator_rate : float
        Highest learning rates of the generator (AdamW) and the discriminator (Adam).
    beta1 : float
        Decay of the optimizers' first moment.
    weight_decay : float
        Of the generator.
    clip : float
        Longest gradient of the generator; longer ones are shortened to it. 0 is off.
    schedule : {"cosine", "linear"}
        Warm-up and half a cosine, or the paper's: constant for the first half, then linear, both to 0.
    ema : float
        Decay of the moving average of the generator's weights, which is what is validated and exported; 0 is off.
    """

    learning_rate: float = 1e-3
    discriminator_rate: float = 2e-4
    beta1: float = 0.9
    weight_decay: float = 1e-2
    clip: float = 10.0
    schedule: str = "cosine"
    ema: float = 0.998


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training run.

    Attributes
    ----------
    preset : str
        The preset it began with.
    epochs : int
        Length of the run; a validation ends each.
    minutes : float
        Length of the run by the clock, in place of `epochs`; 0 leaves it to them.
    patience : int
        Validations in a row without a better one after which the run ends early; 0 lets it go on.
    seed : int
        Of weights, crops and noise.
    compile : bool
        Fuse the generator's steps with torch.compile, where it can and the run is long enough to win back the time
        that takes.
    """

    preset: str = "footprint"
    epochs: int = 60
    minutes: float = 0.0
    patience: int = 20
    seed: int = 0
    compile: bool = True
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


PRESETS: Mapping[str, TrainConfig] = {
    "footprint": TrainConfig(),
    "pix2pix": TrainConfig(
        preset="pix2pix",
        epochs=200,
        patience=0,
        generator=GeneratorConfig(name="unet256", width=64, stride=1),
        discriminator=DiscriminatorConfig(width=64, spectral_norm=False, noise=0.0, pause=False),
        loss=LossConfig(
            bce=0.0, dice=0.0, contour=0.0, touch=0.0, l1=100.0, adversarial=1.0, adversarial_start=0.0,
            adversarial_ramp=0.0,
        ),
        data=DataConfig(
            batch=1, scale=(256 / 286, 256 / 286), rotation=0.0, quarter_turns=False,
            colour=0.0, shadow=0.0, blur=0.0, noise=0.0, jpeg=0.0,
        ),
        optimizer=OptimizerConfig(
            learning_rate=2e-4, discriminator_rate=2e-4, beta1=0.5, weight_decay=0.0, clip=0.0, schedule="linear", ema=0.0
        ),
    ),
}
"""``footprint``, what serves footprints best at small cost, and ``pix2pix``, the paper's recipe."""


LARGEST_SEED = 2**63 - 1
"""What torch takes."""

LARGEST_BATCH = 4096
"""Crops to a step; the making of many more would fill any memory before a step could say so."""

LIMITS: Mapping[str, tuple[float, float]] = {
    "epochs": (1, math.inf),
    "minutes": (0, math.inf),
    "patience": (0, math.inf),
    "seed": (0, LARGEST_SEED),
    "generator.width": (1, math.inf),
    "generator.stride": (1, math.inf),
    "discriminator.width": (1, math.inf),
    "discriminator.noise": (0, math.inf),
    "loss.bce": (0, math.inf),
    "loss.dice": (0, math.inf),
    "loss.contour": (0, math.inf),
    "loss.touch": (0, math.inf),
    "loss.l1": (0, math.inf),
    "loss.adversarial": (0, math.inf),
    "loss.adversarial_start": (0, 1),
    "loss.adversarial_ramp": (0, 1),
    "data.patch": (32, math.inf),  # the discriminator's receptive field leaves nothing of less
    "data.batch": (1, LARGEST_BATCH),
    "data.scale": (0.05, 20),
    "data.rotation": (0, 1),
    "data.colour": (0, 1),
    "data.shadow": (0, 1),
    "data.blur": (0, 1),
    "data.noise": (0, 1),
    "data.jpeg": (0, 1),
    "data.crops_per_epoch": (0, math.inf),
    "optimizer.learning_rate": (0, math.inf),
    "optimizer.discriminator_rate": (0, math.inf),
    "optimizer.beta1": (0, 0.999999),
    "optimizer.weight_decay": (0, math.inf),
    "optimizer.clip": (0, math.inf),
    "optimizer.ema": (0, 0.999999),
}
"""Least and largest value of each number."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "generator.norm": ("batch", "channel", "none"),
    "generator.upsampling": ("bilinear", "transposed"),
    "optimizer.schedule": ("cosine", "linear"),
}
"""What the texts may be that are no names."""


def load_config(
    preset: str | None = None, path: str | os.PathLike[str] | None = None, start: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Return the settings of a preset with what a TOML file changes.

    Parameters
    ----------
    preset : str, optional
        A key of `PRESETS`; by default the one that the file names, or else ``footprint``.
    path : path, optional
        TOML file with the tables generator, discriminator, loss, data and optimizer. The ``config.toml`` of a run is
        one.
    start : mapping, optional
        Settings that change the preset before the file does: those of what a run starts from.

    Raises
    ------
    OptionError
        If there is no such preset, it is not the file's, or the file has a key that is unknown (the nearest one is
        named) or a value of the wrong type or out of range.
    MissingFileError, InputError
        If the file is missing or no TOML.
    """
    changes = {} if path is None else _read_toml(Path(path))
    named = changes.get("preset")
    if preset is not None and named is not None and preset != named:
        raise OptionError(f"{path} is for the preset '{named}', not '{preset}'; leave --preset out.")
    chosen = preset or named or "footprint"
    if chosen not in PRESETS:
        raise OptionError(f"There is no preset '{chosen}'; use one of {', '.join(PRESETS)}.")
    base = from_dict(start or {}, base=PRESETS[chosen])
    return from_dict(changes, base=base, name="the configuration" if path is None else str(path))


def _read_toml(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise MissingFileError(f"{path} is a folder; give a TOML file, such as the config.toml of a run.")
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; check the path of the configuration.")
    try:
        changes: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} cannot be read as TOML ({error}); see the config.toml of a run for an example.") from error
    return changes


def from_dict(
    changes: Mapping[str, Any], *, base: TrainConfig = TrainConfig(), name: str = "the configuration"
) -> TrainConfig:
    """Return settings with changes from nested mappings.

    Parameters
    ----------
    changes : mapping
        As `to_dict` returns it, or a part of that.
    base : TrainConfig
        What holds where nothing is changed.
    name : str
        What error messages call the source of the changes.

    Raises
    ------
    OptionError
        If a key is unknown or a value has the wrong type or is out of range.
    """
    config: TrainConfig = _replace(base, changes, name, "")
    _check_values(config, name)
    return config


def _replace(config: Any, changes: Mapping[str, Any], name: str, prefix: str) -> Any:
    known = [entry.name for entry in dataclasses.fields(config)]
    values: dict[str, Any] = {}
    for key, value in changes.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else f"known are {', '.join(known)}."
            raise OptionError(f"{name} has the unknown key '{prefix}{key}'; {hint}")
        current = getattr(config, key)
        if not dataclasses.is_dataclass(current):
            values[key] = _convert(value, current, name, prefix + key)
        elif isinstance(value, Mapping):
            values[key] = _replace(current, value, name, f"{prefix}{key}.")
        else:
            raise OptionError(f"'{prefix}{key}' in {name} must be a table, not {value!r}.")
    return dataclasses.replace(config, **values)


def _convert(value: Any, current: Any, name: str, key: str) -> Any:
    """Return the value as the type of the current one; a whole number may stand for a float, and nothing else."""
    if isinstance(current, tuple):
        numbers = isinstance(value, (list, tuple)) and len(value) == len(current)
        if numbers and all(type(number) in (int, float) for number in value):
            return tuple(float(number) for number in value)
        raise OptionError(f"'{key}' in {name} must be a list of {len(current)} numbers, not {value!r}.")
    if isinstance(current, float) and type(value) is int:
        return float(value)
    if type(value) is not type(current):
        raise OptionError(f"'{key}' in {name} must be {KINDS[type(current)]}, not {value!r}.")
    return value


KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes"}


def _check_values(config: TrainConfig, name: str) -> None:
    for key, (least, largest) in LIMITS.items():
        value = _value_of(config, key)
        for number in value if isinstance(value, tuple) else (value,):
            if not (math.isfinite(number) and least <= number <= largest):
                bounds = f"at least {least:g}" if math.isinf(largest) else f"from {least:g} to {largest:g}"
                raise OptionError(f"'{key}' in {name} must be {bounds}, not {number:g}.")
    if config.data.scale[0] > config.data.scale[1]:
        raise OptionError(f"'data.scale' in {name} must be the finer and then the coarser end, not {config.data.scale}.")
    for key, choices in CHOICES.items():
        if _value_of(config, key) not in choices:
            raise OptionError(f"'{key}' in {name} must be {' or '.join(choices)}, not '{_value_of(config, key)}'.")
    loss = config.loss
    channels = sum(getattr(loss, channel) for channel in config.data.classes[1:])
    if not (loss.bce or loss.dice or channels or loss.l1 or (loss.adversarial and not loss.adversarial_start)):
        raise OptionError(f"The losses in {name} begin with weights of 0; give one of bce, dice, contour and l1 more.")


def _value_of(config: TrainConfig, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """Return nested dictionaries of plain values, tuples as lists."""
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return list(value) if isinstance(value, tuple) else value

    plain_config: dict[str, Any] = plain(dataclasses.asdict(config))
    return plain_config


def to_toml(config: TrainConfig) -> str:
    """Return the settings as TOML that `load_config` reads back to the same settings."""
    values = to_dict(config)
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    # JSON's texts, numbers, booleans and lists are TOML's too.
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if key not in tables]
    for table, entries in tables.items():
        lines += ["", f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in entries.items())]
    return "\n".join(lines) + "\n"
