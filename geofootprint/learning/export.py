"""From a checkpoint to a model file: ONNX that gives probabilities, describes itself, and computes what torch does."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from geofootprint.config import from_dict
from geofootprint.errors import MissingDependencyError, ModelError, OptionError
from geofootprint.learning.checkpoint import load_checkpoint, scaling_of
from geofootprint.learning.folding import fold_batch_norm
from geofootprint.learning.networks import build_generator
from geofootprint.learning.quantization import QuantizationLoss, measure_loss, quantize, read_tiles_for
from geofootprint.model import METADATA_KEY, ModelInfo, import_onnxruntime
from geofootprint.output import atomic_path, require_folder
from geofootprint.progress import SILENT, Progress

if TYPE_CHECKING:
    import onnx

    from geofootprint.learning.dataset import TileSet

__all__ = ["TOLERANCE", "ExportResult", "export", "export_network"]

TOLERANCE = 1e-4
"""Largest difference from torch's probabilities that a model file may have."""

OPSET = 18
"""The operators of this version are what torch's exporter is written for."""

PARITY_SHAPES = ((1, 64, 64), (2, 97, 131), (1, 200, 72), (3, 5, 1))
"""Batch, height and width with which a file is compared with torch; the networks halve sizes, so odd ones too."""

MAX_LOSS = 0.01
"""Intersection over union that computing in 8 bits may cost."""

SMALL_SEGMENT = 11
"""Median filter in pixels that Deepness is asked to apply."""

SMALLEST_HALF = 64
"""Arrays of fewer numbers are never stored in 16 bits."""


@dataclass(frozen=True)
class ExportResult:
    """What `export` made.

    Parameters
    ----------
    out : str
        The model file.
    name, sha256 : str
        Of the model, of the file.
    megabytes : float
        Size of the file in 10**6 bytes.
    parity : float
        Largest difference from torch's probabilities that was found; before quantization, if there was one.
    seconds : float
    quantization : QuantizationLoss, optional
        What computing in 8 bits costs.
    """

    out: str
    name: str
    sha256: str
    megabytes: float
    parity: float
    seconds: float
    quantization: QuantizationLoss | None = None


def export(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    licence: str = "",
    sources: Sequence[tuple[str, str]] = (),
    threshold: float | None = None,
    patch: int = 768,
    overlap: int = 128,
    half: bool = False,
    int8: Sequence[str | os.PathLike[str]] = (),
    max_loss: float = MAX_LOSS,
    deepness: bool = False,
    progress: Progress = SILENT,
) -> ExportResult:
    """Write the generator of a checkpoint as a model file.

    Parameters
    ----------
    checkpoint : path
        ``best.ckpt`` or ``last.ckpt`` of a run.
    out : path
        The model file, ending in .onnx.
    name : str, optional
        For people; the name of the run's folder by default.
    licence : str
        Of the model.
    sources : sequence of (name, licence)
        Data that it was trained on; by default the images of the datasets, whose licences are not known.
    threshold : float, optional
        Probability from which a pixel is building; by default what was best in validation.
    patch, overlap : int
        Side of a patch at inference and pixels that neighbouring ones share; a quarter of these, on either side, get
        no weight. 0.09 % of a city's pixels change their class with 768 and 128 instead of 1024 and 512.
    half : bool
        Store the weights in 16 bits, for half the size; they are computed with in 32 bits.
    int8 : sequence of path
        Datasets for a file that computes in 8 bits, for a quarter of the size and, on processors with instructions for
        that (VNNI), two to three times the speed. Ranges are taken from their training tiles, and what it costs is
        measured on their validation tiles and kept in the file. None by default: 32 bits.
    max_loss : float
        Intersection over union that may be lost by that.
    deepness : bool
        Fix the size to `patch`, and give channels for background and building alone, as the Deepness plugin and GeoDeep
        need it.
    progress : Progress

    Raises
    ------
    MissingFileError, ModelError
        If the checkpoint cannot be used, the file would compute something else than torch, or 8 bits lose too much.
    DatasetError
        If a dataset of `int8` cannot be used.
    OptionError
        If a value is impossible.
    OutputError
        If the file cannot be written.
    """
    target = _check_options(out, threshold, half=half, int8=int8)
    state = load_checkpoint(checkpoint)
    try:
        info = _describe(state, name or Path(checkpoint).resolve().parent.name, patch=patch, overlap=overlap)
        network = _restore(state)
    except (KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{checkpoint} does not hold the generator it describes ({reason}); train it again.") from error
    told = tuple({"name": source, "licence": terms} for source, terms in sources)
    info = replace(info, licence=licence, training=told or info.training, threshold=threshold or info.threshold)
    return export_network(
        network, info, target, half=half, int8=int8, max_loss=max_loss, deepness=deepness, progress=progress
    )


def _check_options(
    out: str | os.PathLike[str], threshold: float | None, *, half: bool, int8: Sequence[str | os.PathLike[str]]
) -> Path:
    target = require_folder(out)
    if target.suffix.lower() != ".onnx":
        raise OptionError(f"{target} does not end in .onnx; give the model file this extension.")
    if threshold is not None and not 0 < threshold < 1:
        raise OptionError(f"--threshold must be between 0 and 1, not {threshold:g}.")
    if half and int8:
        raise OptionError("Both --half and --int8 are given; choose one.")
    return target


def _describe(state: Mapping[str, Any], name: str, *, patch: int, overlap: int) -> ModelInfo:
    config, data = state["config"], state["data"]
    finest, coarsest = config["data"]["scale"]
    score, scaling = state.get("score") or {}, scaling_of(state)
    text = json.dumps(config, sort_keys=True)
    return ModelInfo(
        name=name,
        bands=data["bands"],
        dtype=data["dtype"],
        scale={data["dtype"]: scaling.divisor} if scaling else {},
        offset={data["dtype"]: scaling.offset} if scaling and any(scaling.offset) else {},
        gsd=data["gsd"],
        gsd_range=(round(data["gsd"] * finest, 4), round(data["gsd"] * coarsest, 4)),
        classes=tuple(data["classes"]),
        threshold=round(score.get("threshold", 0.5), 4),
        patch=patch,
        overlap=overlap,
        context=overlap // 4,
        preset=config["preset"],
        training=tuple({"name": source, "licence": "not stated"} for source in data["sources"]),
        scores={key: round(value, 4) for key, value in score.items()},
        generator=config["generator"],
        config_hash=hashlib.sha256(text.encode()).hexdigest(),
        version=state["version"],
    )


def _restore(state: Mapping[str, Any]) -> nn.Module:
    data = state["data"]
    network = build_generator(from_dict(state["config"]).generator, data["bands"], len(data["classes"]))
    weights = state["networks"]
    network.load_state_dict(weights.get("generator_ema") or weights["generator"])
    return network


def export_network(
    network: nn.Module,
    info: ModelInfo,
    out: str | os.PathLike[str],
    *,
    half: bool = False,
    int8: Sequence[str | os.PathLike[str]] = (),
    max_loss: float = MAX_LOSS,
    deepness: bool = False,
    progress: Progress = SILENT,
) -> ExportResult:
    """Write a network as a model file.

    Parameters
    ----------
    network : torch.nn.Module
        From float32 (N, bands, H, W) of 0..1 to logits (N, classes, H, W), for any H and W.
    info : ModelInfo
        What the file shall say of itself.
    out : path
    half, int8, max_loss, deepness
        As of `export`.
    progress : Progress

    Raises
    ------
    ModelError
        If torch cannot export the network, the file would compute something else, or 8 bits lose too much.
    DatasetError
        If a dataset of `int8` cannot be used.
    MissingDependencyError
        If onnx or onnxscript is not installed.
    """
    started = time.monotonic()
    if deepness:
        info = replace(info, classes=("building",), channels=("background", "building"))
    tiles = read_tiles_for(info, [os.fspath(folder) for folder in int8]) if int8 else None
    progress.update("export", 0, 3)
    folded = fold_batch_norm(network, torch.rand(1, info.bands, info.patch, info.patch))
    if half:
        _round_weights(folded)
    output = BuildingOrNot if deepness else Probabilities
    reference = output(folded if half else copy.deepcopy(network)).eval()
    proto = _to_onnx(output(folded).eval(), info)
    if half:
        _store_half(proto)
    progress.update("export", 1, 3)
    parity = _measure_parity(proto.SerializeToString(), reference, info.bands)
    if not parity <= TOLERANCE:
        raise ModelError(f"The model file would differ from torch by {parity:.2g}; report it with the network's name.")
    loss = None
    if tiles is not None:
        proto, loss = _to_int8(proto, info, *tiles, max_loss=max_loss, progress=progress)
        info = replace(info, quantization=asdict(loss) | {"datasets": [Path(folder).name for folder in int8]})
    _clean(proto, info, fixed=deepness)
    _write_metadata(proto, info)
    data = proto.SerializeToString()
    progress.update("export", 2, 3)
    with atomic_path(out) as temporary:
        temporary.write_bytes(data)
    progress.update("export", 3, 3)
    return ExportResult(
        out=str(Path(out)),
        name=info.name,
        sha256=hashlib.sha256(data).hexdigest(),
        megabytes=round(len(data) / 1e6, 3),
        parity=parity,
        seconds=round(time.monotonic() - started, 3),
        quantization=loss,
    )


def _to_int8(
    proto: onnx.ModelProto, info: ModelInfo, training: TileSet, validation: TileSet, *, max_loss: float, progress: Progress
) -> tuple[onnx.ModelProto, QuantizationLoss]:
    quantized = quantize(proto, training)
    loss = measure_loss(
        proto.SerializeToString(), quantized.SerializeToString(), validation, info, progress=progress
    )
    if not loss.lost <= max_loss:
        raise ModelError(
            f"8 bits would lower the IoU on the validation tiles from {loss.iou_before:.3f} to {loss.iou:.3f}, more than the "
            f"{max_loss:g} of --max-loss; export without --int8, or calibrate on tiles that are more like these."
        )
    return quantized, loss


class Probabilities(nn.Module):
    """A network whose output are probabilities.

    Parameters
    ----------
    network : torch.nn.Module
        Returns logits, of buildings first.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return probabilities of shape (N, channels, H, W) for an image of shape (N, bands, H, W)."""
        return torch.sigmoid(self.network(image))


class BuildingOrNot(Probabilities):
    """A network whose output are the probabilities of background and building.

    Some programs take the channel with the highest value for the class, and the first for the background. A channel for
    contours would take the buildings' rims from them, a twelfth of their area in a procedural suburb.
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return probabilities of shape (N, 2, H, W) for an image of shape (N, bands, H, W)."""
        building = super().forward(image)[:, :1]
        return torch.cat([1 - building, building], dim=1)


def _is_stored_half(shape: Sequence[int]) -> bool:
    # Biases and constants are small, and what is lost in them is lost for every pixel.
    return len(shape) >= 2 and math.prod(shape) >= SMALLEST_HALF


def _round_weights(network: nn.Module) -> None:
    """Round the weights, in place, to what 16 bits can hold."""
    for weight in network.parameters():
        if _is_stored_half(weight.shape):
            rounded = weight.half().float()
            if not rounded.isfinite().all():
                raise ModelError("The weights are too large for 16 bits; export without --half.")
            weight.copy_(rounded)


def _to_onnx(network: nn.Module, info: ModelInfo) -> onnx.ModelProto:
    # Two different sizes, or the exporter takes height and width for one.
    example = torch.rand(2, info.bands, info.patch, info.patch // 2)
    sizes = {axis: torch.export.Dim(axis_name) for axis, axis_name in ((0, "batch"), (2, "height"), (3, "width"))}
    try:
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["image"],
            output_names=["probabilities"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=(sizes,),
            verbose=False,
        )
    except ImportError as error:
        raise MissingDependencyError("Exporting needs onnx and onnxscript; install geofootprint[train].") from error
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"torch cannot write this network as ONNX ({reason}); choose another generator.") from error
    if program is None:
        raise ModelError("torch wrote no ONNX; install another version of torch.")
    proto: onnx.ModelProto = program.model_proto
    return proto


def _clean(proto: onnx.ModelProto, info: ModelInfo, *, fixed: bool) -> None:
    """Leave out what tells of the machine it was exported on, and state the sizes of input and output."""
    graph = proto.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph, proto):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
    proto.producer_name = "geofootprint"
    proto.producer_version = ""
    for value, channels in ((graph.input[0], info.bands), (graph.output[0], len(info.channels))):
        sizes = (1, channels, info.patch, info.patch) if fixed else ("batch", channels, "height", "width")
        for axis, size in zip(value.type.tensor_type.shape.dim, sizes, strict=True):
            axis.Clear()
            if isinstance(size, int):
                axis.dim_value = size
            else:
                axis.dim_param = size


def _store_half(proto: onnx.ModelProto) -> None:
    """Store weights in 16 bits, each cast to 32 before its use; backends do that once, when they load the file."""
    from onnx import TensorProto, helper, numpy_helper

    graph, casts = proto.graph, []
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT and _is_stored_half(weight.dims):
            name, small = weight.name, numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(numpy_helper.from_array(small, f"{name}_half"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])


def _write_metadata(proto: onnx.ModelProto, info: ModelInfo) -> None:
    """Let the file describe itself to us, and by the keys that the Deepness plugin reads."""
    scaling = info.scaling(info.dtype)
    described: dict[str, Any] = {
        "model_type": "Segmentor",
        "class_names": {str(index): name for index, name in enumerate(info.channels)},
        "resolution": round(info.gsd * 100, 4),  # cm per pixel
        "tile_size": info.patch,
        "tiles_size": info.patch,
        "tiles_overlap": round(100 * info.overlap / info.patch),  # per cent
        # Of pixels divided by 255, as the plugin divides those of any type.
        "standardization_mean": [value / 255 for value in scaling.offset],
        "standardization_std": [value / 255 for value in scaling.divisor],
        "seg_thresh": info.threshold,
        "seg_small_segment": SMALL_SEGMENT,
    }
    texts = {key: json.dumps(value) for key, value in described.items()} | {METADATA_KEY: info.to_json()}
    for key, text in texts.items():
        proto.metadata_props.add(key=key, value=text)


def _measure_parity(data: bytes, reference: nn.Module, bands: int) -> float:
    """Return the largest difference between a model file and torch."""
    session = import_onnxruntime().InferenceSession(data, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for batch, height, width in PARITY_SHAPES:
        image = torch.rand(batch, bands, height, width, generator=generator)
        with torch.inference_mode():
            expected = reference(image).numpy()
        (given,) = session.run(None, {"image": image.numpy()})
        worst = max(worst, float(np.abs(given - expected).max()) if given.shape == expected.shape else np.inf)
    return worst
