"""What a run starts from: the generator of a checkpoint, or of a model file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from geofootprint.config import GeneratorConfig, TrainConfig, from_dict
from geofootprint.errors import MissingDependencyError, ModelError, OptionError
from geofootprint.learning.batches import BatchStream
from geofootprint.learning.checkpoint import load_checkpoint, scalings_of
from geofootprint.learning.dataset import TileSet
from geofootprint.learning.folding import unfold_batch_norm
from geofootprint.learning.networks import build_generator
from geofootprint.model import DEFAULT_MODEL, ModelInfo, read_info
from geofootprint.scaling import Scaling

__all__ = ["Start", "read_start"]

DEFAULT = "default"
"""Stands for the model that comes along; a file of that name is ./default."""

CROPS = 64
"""Crops from which statistics of batch normalisation are taken that a model file no longer has."""

PREFIX, HALF = "network.", "_half"
"""Before the name of each weight in a model file, and after it where it is stored in 16 bits."""


@dataclass(frozen=True)
class Start:
    """A trained generator that another run can go on from.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    generator : GeneratorConfig
    classes : tuple of str
        Channels that it predicts.
    bands : int
        Colour bands that it takes.
    weights : mapping of str to tensor
        By the names of the generator or, if `folded`, by those of the one whose batch normalisation is folded.
    folded : bool
    scalings : mapping of str to Scaling
        What made 0 to 1 of the pixels it was trained on, by their types; nothing for uint8.
    """

    name: str
    generator: GeneratorConfig
    classes: tuple[str, ...]
    bands: int
    weights: Mapping[str, torch.Tensor]
    folded: bool = False
    scalings: Mapping[str, Scaling] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that a run needs in order to start from this, as `geofootprint.config.from_dict` takes them."""
        return {"generator": asdict(self.generator), "data": {name: name in self.classes for name in ("contour", "touch")}}

    def weights_for(self, settings: TrainConfig, tiles: TileSet) -> Mapping[str, torch.Tensor]:
        """Return the weights by the names of a run's generator, with statistics of batch normalisation.

        A model file no longer has these; they are taken from crops of the run, the same in all of its processes.

        Raises
        ------
        ModelError
            If the run's generator is another one.
        """
        self._check(settings, tiles.bands)
        if not self.folded:
            return self.weights
        network = build_generator(self.generator, self.bands, len(self.classes))
        try:
            unfold_batch_norm(network, self.weights, _images(settings, tiles))
        except (KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"{self.name} lacks weights by which training could go on ({reason}); give the checkpoint it was made of."
            ) from error
        return network.state_dict()

    def _check(self, settings: TrainConfig, bands: int) -> None:
        for what, theirs, ours in (
            ("generator", _tell(self.generator), _tell(settings.generator)),
            ("channels", ", ".join(self.classes), ", ".join(settings.data.classes)),
        ):
            if theirs != ours:
                raise ModelError(
                    f"{self.name} does not hold this run's {what} ({ours}) but others ({theirs}); "
                    "leave those settings out of --config, and they are taken from it."
                )
        if bands != self.bands:
            raise ModelError(
                f"{self.name} takes images of {self.bands} band(s), but the datasets have {bands}; "
                "tile images of the same bands, or start without --init-from."
            )


def _tell(generator: GeneratorConfig) -> str:
    return ", ".join(f"{key} {value}" for key, value in asdict(generator).items())


def _images(settings: TrainConfig, tiles: TileSet) -> Iterator[torch.Tensor]:
    batches = math.ceil(CROPS / settings.data.batch)
    with BatchStream(tiles, settings.data, seed=settings.seed) as stream:
        yield from (batch.image for batch in islice(stream, batches))


def read_start(path: str | os.PathLike[str]) -> Start:
    """Read the generator of a checkpoint, its moving average where there is one, or of a model file.

    Parameters
    ----------
    path : path
        Checkpoint of a run, model file (.onnx), or ``default`` for the model that comes along.

    Raises
    ------
    MissingFileError
        If nothing is at `path`.
    ModelError
        If the file is damaged, of a newer version, computes in 8 bits, or was made for Deepness.
    MissingDependencyError
        If onnx, which reads model files, is not installed.
    """
    file = DEFAULT_MODEL if os.fspath(path) == DEFAULT else Path(path)
    return _read_model_file(file) if file.suffix.lower() == ".onnx" else _read_checkpoint(file)


def _read_checkpoint(file: Path) -> Start:
    state = load_checkpoint(file)
    try:
        networks, data = state["networks"], state["data"]
        generator = from_dict(state["config"], name=str(file)).generator
        weights = networks["generator_ema"] or networks["generator"]
        return Start(
            str(file), generator, tuple(data["classes"]), data["bands"], weights, scalings=scalings_of(state)
        )
    except (KeyError, TypeError) as error:
        raise ModelError(f"{file} does not describe its generator ({error}); give the best.ckpt of a run.") from error


def _read_model_file(file: Path) -> Start:
    info = read_info(file)
    if info.quantization:
        raise ModelError(f"{file} computes in 8 bits, from which training cannot go on; export its checkpoint without --int8.")
    if info.channels[0] == "background":
        raise ModelError(f"{file} was made for Deepness and holds buildings alone; export its checkpoint without --deepness.")
    weights = _read_weights(file)
    return Start(
        str(file), _generator_of(info, weights, file), info.classes, info.bands, weights, folded=True,
        scalings=info.scalings,
    )


def _read_weights(file: Path) -> dict[str, torch.Tensor]:
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingDependencyError("Starting from a model file needs onnx; install geofootprint[train].") from error

    return {
        array.name.removeprefix(PREFIX).removesuffix(HALF): torch.from_numpy(numpy_helper.to_array(array).copy()).float()
        for array in onnx.load(file).graph.initializer
        if array.name.startswith(PREFIX)
    }


def _generator_of(info: ModelInfo, weights: Mapping[str, torch.Tensor], file: Path) -> GeneratorConfig:
    if info.generator:
        try:
            return from_dict({"generator": info.generator}, name=str(file)).generator
        except OptionError as error:
            raise ModelError(f"{file} has a generator that this version does not know; upgrade geofootprint.") from error
    # Files of before the settings were kept hold a `unet` with batch normalisation and bilinear upsampling.
    first = weights.get("encoder.0.0.weight")
    if first is None:
        raise ModelError(f"{file} does not say which generator it holds; export its checkpoint again.")
    width, channels = first.shape[:2]
    return GeneratorConfig(name="unet", width=width, stride=math.isqrt(channels // info.bands))
