"""How a model is trained: frozen settings from a preset, changed by a TOML file."""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

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
        Filters of the first level.
    stride : int
        Pixels to a step of the first level of ``unet``.
    """

    name: str = "unet"
    width: int = 24
    stride: int = 2


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
    """

    width: int = 32
    spectral_norm: bool = True
    noise: float = 0.05


@dataclass(frozen=True)
class LossConfig:
    """Weights of the generator's losses; 0 switches one off.

    Attributes
    ----------
    bce, dice : float
        Binary cross-entropy and soft Dice of the building channel.
    contour : float
        Both of the contour channel.
    l1 : float
        Mean absolute difference of labels and prediction on the paper's scale of -1 to 1, both channels.
    adversarial : float
        Binary cross-entropy of the discriminator's judgement.
    adversarial_start : float
        Share of the training that passes before the discriminator sets in.
    """

    bce: float = 1.0
    dice: float = 1.0
    contour: float = 0.5
    l1: float = 0.25
    adversarial: float = 0.02
    adversarial_start: float = 0.7


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
    colour : float
        Strength of changes of brightness, contrast, colour, shadow, blur, noise and JPEG; 0 is off, 1 strong.
    crops_per_epoch : int
        Crops between two validations; 0 takes what covers the training tiles once, at least 1000.
    """

    patch: int = 256
    batch: int = 8
    scale: tuple[float, float] = (0.67, 2.0)
    rotation: float = 0.5
    colour: float = 1.0
    crops_per_epoch: int = 0


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
    schedule : {"cosine", "linear"}
        Warm-up and half a cosine, or the paper's: constant for the first half, then linear, both to 0.
    ema : float
        Decay of the moving average of the generator's weights, which is what is validated and exported; 0 is off.
    """

    learning_rate: float = 1e-3
    discriminator_rate: float = 2e-4
    beta1: float = 0.9
    weight_decay: float = 1e-2
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
        Length of the run where neither epochs nor minutes are asked for.
    """

    preset: str = "footprint"
    epochs: int = 60
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
        generator=GeneratorConfig(name="unet256", width=64, stride=1),
        discriminator=DiscriminatorConfig(width=64, spectral_norm=False, noise=0.0),
        loss=LossConfig(bce=0.0, dice=0.0, contour=0.0, l1=100.0, adversarial=1.0, adversarial_start=0.0),
        data=DataConfig(batch=1, scale=(256 / 286, 256 / 286), rotation=0.0, colour=0.0),
        optimizer=OptimizerConfig(
            learning_rate=2e-4, discriminator_rate=2e-4, beta1=0.5, weight_decay=0.0, schedule="linear", ema=0.0
        ),
    ),
}
"""``footprint``, what serves footprints best at small cost, and ``pix2pix``, the paper's recipe."""


def load_config(preset: str = "footprint", path: str | os.PathLike[str] | None = None) -> TrainConfig:
    """Return the settings of a preset with what a TOML file changes.

    Parameters
    ----------
    preset : str
        A key of `PRESETS`.
    path : path, optional
        TOML file with the tables generator, discriminator, loss, data and optimizer.

    Raises
    ------
    OptionError
        If there is no such preset, or the file has a key or a type that is unknown; the nearest key is named.
    MissingFileError, InputError
        If the file is missing or no TOML.
    """
    if preset not in PRESETS:
        raise OptionError(f"There is no preset '{preset}'; use one of {', '.join(PRESETS)}.")
    if path is None:
        return PRESETS[preset]
    if not Path(path).is_file():
        raise MissingFileError(f"{path} does not exist; check the path of the configuration.")
    try:
        changes = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no valid TOML ({error}).") from error
    return from_dict(changes, base=PRESETS[preset], name=str(path))


def from_dict(changes: Mapping[str, Any], *, base: TrainConfig = TrainConfig(), name: str = "configuration") -> TrainConfig:
    """Return `base` with changes from nested mappings; `name` is what error messages call their source."""
    changed: TrainConfig = _replace(base, changes, name, "")
    return changed


def _replace(config: Any, changes: Mapping[str, Any], name: str, prefix: str) -> Any:
    hints = get_type_hints(type(config))
    values: dict[str, Any] = {}
    for key, value in changes.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else f"known are {', '.join(hints)}."
            raise OptionError(f"{name} has the unknown key '{prefix}{key}'; {hint}")
        current = getattr(config, key)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise OptionError(f"{name}: '{prefix}{key}' must be a table.")
            values[key] = _replace(current, value, name, f"{prefix}{key}.")
        else:
            values[key] = _converted(value, current, name, prefix + key)
    return dataclasses.replace(config, **values)


def _converted(value: Any, current: Any, name: str, key: str) -> Any:
    if isinstance(current, tuple):
        if isinstance(value, (list, tuple)) and len(value) == len(current):
            return tuple(_converted(v, c, name, key) for v, c in zip(value, current, strict=True))
    elif isinstance(current, bool) or isinstance(value, bool):
        if type(value) is type(current):
            return value
    elif isinstance(current, float) and isinstance(value, (int, float)):
        return float(value)
    elif type(value) is type(current):
        return value
    wanted = f"{len(current)} numbers" if isinstance(current, tuple) else type(current).__name__
    raise OptionError(f"{name}: '{key}' must be {wanted}, not {value!r}.")


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
    def text(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return f'"{value}"'
        return repr(value)

    values = to_dict(config)
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"{key} = {text(value)}" for key, value in values.items() if key not in tables]
    for table, entries in tables.items():
        lines += ["", f"[{table}]", *(f"{key} = {text(value)}" for key, value in entries.items())]
    return "\n".join(lines) + "\n"
