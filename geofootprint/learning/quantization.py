"""Model files that compute in 8 bits: quantized on training tiles, and what that costs on validation tiles."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geofootprint.errors import DatasetError, MissingDependencyError, ModelError
from geofootprint.learning.batches import Batch, to_batch
from geofootprint.learning.dataset import SAME_GSD, Tile, TileSet, read_tiles
from geofootprint.metrics import Counts, count_pixels
from geofootprint.model import ModelInfo, import_onnxruntime
from geofootprint.progress import SILENT, Progress

if TYPE_CHECKING:
    import onnx

__all__ = ["QuantizationLoss", "measure_loss", "quantize", "read_tiles_for"]

CALIBRATION_TILES = 16
"""Training tiles from which the ranges of the activations are taken."""


@dataclass(frozen=True)
class QuantizationLoss:
    """What computing in 8 bits costs, over all valid pixels of validation tiles.

    Parameters
    ----------
    iou_before, iou : float
        Intersection over union of buildings at the model's threshold, in 32 bits and in 8.
    largest_difference, mean_difference : float
        Of probabilities, all channels.
    pixels : int
        Valid pixels.
    """

    iou_before: float
    iou: float
    largest_difference: float
    mean_difference: float
    pixels: int

    @property
    def lost(self) -> float:
        """How much the intersection over union fell; below 0 where it rose."""
        return self.iou_before - self.iou


def read_tiles_for(info: ModelInfo, datasets: Sequence[str]) -> tuple[TileSet, TileSet]:
    """Read the training and the validation tiles with which a model is quantized and measured.

    Raises
    ------
    DatasetError, MissingFileError
        As of `read_tiles`, or if the tiles are not what the model takes.
    """
    folders = [(folder, 1.0) for folder in datasets]
    training, validation = (read_tiles(folders, split, scalings=info.scalings) for split in ("train", "val"))
    if training.bands != info.bands:
        raise DatasetError(f"{datasets[0]} has {training.bands} band(s), but the model takes {info.bands}.")
    if abs(training.gsd / info.gsd - 1) > SAME_GSD:
        raise DatasetError(
            f"{datasets[0]} has {training.gsd:.3g} m per pixel, but the model {info.gsd:.3g} m; "
            f"tile it with --gsd {info.gsd:.3g}."
        )
    return training, validation


def quantize(model: onnx.ModelProto, tiles: TileSet) -> onnx.ModelProto:
    """Return a copy whose convolutions compute in 8 bits.

    Weights get a scale for each output channel, activations one for each tensor: what spans their range on some of the
    tiles. The first convolution, which sees the image, and the last, which makes the logits, stay as they are: for the
    default model that took a twentieth of the time and lowered the largest difference by a quarter.

    Parameters
    ----------
    model : onnx.ModelProto
        With weights of 32 bits.
    tiles : TileSet
        Training tiles.

    Raises
    ------
    ModelError
        If it has no convolution between the first and the last.
    MissingDependencyError
        If onnxruntime's quantization cannot be imported.

    References
    ----------
    onnxruntime, Quantize ONNX models: onnxruntime.ai/docs/performance/model-optimizations/quantization.html, format QDQ.
    """
    import_onnxruntime()
    try:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingDependencyError(f"Quantizing needs {error.name}; install geofootprint[train].") from error

    convolutions = [node.name for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    inner = convolutions[1:-1]
    if not inner:
        raise ModelError("The network has no convolutions that could compute in 8 bits; export without --int8.")
    with TemporaryDirectory() as folder, _quiet():
        prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "quantized.onnx")
        # The other half of what this could do, fusing operators, is done when the file is loaded.
        quant_pre_process(model, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            prepared, quantized, _Images(model.graph.input[0].name, tiles),
            quant_format=QuantFormat.QDQ, per_channel=True, nodes_to_quantize=inner,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )
        return onnx.load(quantized)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep off what onnxruntime's quantization advises its users through the root logger."""
    root = logging.getLogger()
    root.addFilter(_is_no_advice)
    try:
        yield
    finally:
        root.removeFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    return record.levelno > logging.WARNING or "quantiz" not in str(record.msg)


class _Images:
    """Gives some of the tiles' images one by one, as `onnxruntime.quantization.CalibrationDataReader` does."""

    def __init__(self, name: str, tiles: TileSet) -> None:
        step = -(-len(tiles.tiles) // CALIBRATION_TILES)
        self._feeds = ({name: _to_batch(tile).image.numpy()} for tile in tiles.tiles[::step])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._feeds, None)


def _to_batch(tile: Tile) -> Batch:
    batch = to_batch(tile.image[None], tile.label[None], ("building",))
    return Batch(batch.image.contiguous(), batch.target, batch.valid)


def measure_loss(
    before: bytes, after: bytes, tiles: TileSet, info: ModelInfo, *, progress: Progress = SILENT
) -> QuantizationLoss:
    """Compare two model files on tiles.

    Parameters
    ----------
    before, after : bytes
        ONNX, in 32 bits and in 8.
    tiles : TileSet
        Validation tiles.
    info : ModelInfo
        Names the channels and the threshold.
    progress : Progress
    """
    sessions = [_open(data) for data in (before, after)]
    building = info.channels.index("building")
    counts = [Counts(), Counts()]  # of each file
    largest, summed, pixels = 0.0, 0.0, 0
    for number, tile in enumerate(tiles.tiles):
        progress.update("measure", number, len(tiles.tiles))
        batch = _to_batch(tile)
        truth, valid = batch.target[0, 0].numpy() > 0, batch.valid[0].numpy() > 0
        image = batch.image.numpy()
        given = [session.run(None, {session.get_inputs()[0].name: image})[0][0] for session in sessions]
        counts = [
            count + count_pixels(probability[building] >= info.threshold, truth, within=valid)
            for count, probability in zip(counts, given, strict=True)
        ]
        difference = np.abs(given[1] - given[0])[:, valid]
        largest = max(largest, float(difference.max(initial=0.0)))
        summed += float(difference.mean(axis=0, dtype=np.float64).sum())
        pixels += int(valid.sum())
    iou_before, iou = (round(count.iou, 4) for count in counts)
    return QuantizationLoss(iou_before, iou, round(largest, 4), round(summed / max(pixels, 1), 5), pixels)


def _open(data: bytes) -> Any:
    return import_onnxruntime().InferenceSession(data, providers=["CPUExecutionProvider"])
