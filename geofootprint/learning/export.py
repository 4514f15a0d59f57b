"""From a checkpoint to a model file: ONNX that gives probabilities, describes itself, and computes what torch does."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from geofootprint.config import from_dict
from geofootprint.errors import MissingDependencyError, ModelError, OptionError
from geofootprint.learning.checkpoint import load_checkpoint, scaling_of
from geofootprint.learning.networks import build_generator
from geofootprint.model import METADATA_KEY, ModelInfo, import_onnxruntime
from geofootprint.output import atomic_path, require_folder
from geofootprint.progress import SILENT, Progress

if TYPE_CHECKING:
    import onnx

__all__ = ["TOLERANCE", "ExportResult", "export", "export_network"]

TOLERANCE = 1e-4
"""Largest difference from torch's probabilities that a model file may have."""

OPSET = 18
"""The operators of this version are what torch's exporter is written for."""

PARITY_SHAPES = ((1, 64, 64), (2, 97, 131), (1, 200, 72))
"""Batch, height and width with which a file is compared with torch; the networks halve sizes, so odd ones too."""

SMALL_SEGMENT = 11
"""Median filter in pixels that Deepness is asked to apply."""

SMALLEST_HALF = 64
"""Arrays of fewer numbers are never stored in 16 bits."""

FOLDABLE = (nn.Conv2d, nn.ConvTranspose2d)


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
        Largest difference from torch's probabilities that was found.
    seconds : float
    """

    out: str
    name: str
    sha256: str
    megabytes: float
    parity: float
    seconds: float


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
    deepness : bool
        Fix the size to `patch` and put a background channel first, as the Deepness plugin needs it.
    progress : Progress

    Raises
    ------
    MissingFileError, ModelError
        If the checkpoint cannot be used, or the file would compute something else than torch.
    OptionError
        If a value is impossible.
    OutputError
        If the file cannot be written.
    """
    target = _check_options(out, threshold)
    state = load_checkpoint(checkpoint)
    try:
        info = _describe(state, name or Path(checkpoint).resolve().parent.name, patch=patch, overlap=overlap)
        network = _restore(state)
    except (KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{checkpoint} does not hold the generator it describes ({reason}); train it again.") from error
    told = tuple({"name": source, "licence": terms} for source, terms in sources)
    info = replace(info, licence=licence, training=told or info.training, threshold=threshold or info.threshold)
    return export_network(network, info, target, half=half, deepness=deepness, progress=progress)


def _check_options(out: str | os.PathLike[str], threshold: float | None) -> Path:
    target = require_folder(out)
    if target.suffix.lower() != ".onnx":
        raise OptionError(f"{target} does not end in .onnx; give the model file this extension.")
    if threshold is not None and not 0 < threshold < 1:
        raise OptionError(f"--threshold must be between 0 and 1, not {threshold:g}.")
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
    half, deepness
        As of `export`.
    progress : Progress

    Raises
    ------
    ModelError
        If torch cannot export the network, or the file would compute something else.
    MissingDependencyError
        If onnx or onnxscript is not installed.
    """
    started = time.monotonic()
    if deepness:
        info = replace(info, channels=("background", *info.classes))
    progress.update("export", 0, 3)
    folded = fold_batch_norm(network, torch.rand(1, info.bands, info.patch, info.patch))
    if half:
        _round_weights(folded)
    reference = Probabilities(folded if half else copy.deepcopy(network), background=deepness).eval()
    proto = _to_onnx(Probabilities(folded, background=deepness).eval(), info, fixed=deepness)
    if half:
        _store_half(proto)
    _write_metadata(proto, info)
    progress.update("export", 1, 3)
    shapes = [(1, info.patch, info.patch)] if deepness else PARITY_SHAPES
    data = proto.SerializeToString()
    parity = _measure_parity(data, reference, info.bands, shapes)
    if not parity <= TOLERANCE:
        raise ModelError(f"The model file would differ from torch by {parity:.2g}; report it with the network's name.")
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
    )


class Probabilities(nn.Module):
    """A network whose output are probabilities.

    Parameters
    ----------
    network : torch.nn.Module
        Returns logits.
    background : bool
        Put 1 - the highest probability before the others: some programs take the channel with the highest value for
        the class, and the first for the background.
    """

    def __init__(self, network: nn.Module, *, background: bool = False) -> None:
        super().__init__()
        self.network = network
        self.background = background

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return probabilities of shape (N, channels, H, W) for an image of shape (N, bands, H, W)."""
        probabilities = torch.sigmoid(self.network(image))
        if self.background:
            rest = 1 - probabilities.amax(dim=1, keepdim=True)
            probabilities = torch.cat([rest, probabilities], dim=1)
        return probabilities


def fold_batch_norm(network: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return a copy in which batch normalisation is part of the convolution before it.

    Parameters
    ----------
    network : torch.nn.Module
    example : tensor
        An input; which convolution feeds which normalisation is seen by running it.
    """
    network = copy.deepcopy(network).eval()
    calls: Counter[nn.Module] = Counter()
    makers: dict[int, tuple[nn.Module, torch.Tensor]] = {}  # the tensors are kept, or their ids would be used again
    pairs: list[tuple[nn.Module, nn.Module]] = []

    def watch(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        calls[module] += 1
        if isinstance(module, FOLDABLE):
            makers[id(output)] = module, output
        elif id(inputs[0]) in makers:
            pairs.append((makers[id(inputs[0])][0], module))

    watched = [module for module in network.modules() if isinstance(module, (*FOLDABLE, nn.BatchNorm2d))]
    hooks = [module.register_forward_hook(watch) for module in watched]
    with torch.inference_mode():
        network(example)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in network.named_modules()}
    for convolution, norm in pairs:
        if calls[convolution] == calls[norm] == 1:
            transposed = isinstance(convolution, nn.ConvTranspose2d)
            _put(network, names[convolution], fuse_conv_bn_eval(convolution, norm, transposed))  # type: ignore[type-var,arg-type]
            _put(network, names[norm], nn.Identity())
    return network.requires_grad_(False)


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)


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


def _to_onnx(network: nn.Module, info: ModelInfo, *, fixed: bool) -> onnx.ModelProto:
    # Two different sizes, or the exporter takes height and width for one.
    example = torch.rand(1 if fixed else 2, info.bands, info.patch, info.patch if fixed else info.patch // 2)
    sizes = {axis: torch.export.Dim(axis_name) for axis, axis_name in ((0, "batch"), (2, "height"), (3, "width"))}
    try:
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["image"],
            output_names=["probabilities"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=None if fixed else (sizes,),
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
    _clean(proto, ["batch", str(len(info.channels)), "height", "width"], fixed=fixed)
    return proto


def _clean(proto: onnx.ModelProto, axes: Sequence[str], *, fixed: bool) -> None:
    """Leave out what tells of the machine it was exported on, and name the axes of the output."""
    graph = proto.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph, proto):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
    proto.producer_name = "geofootprint"
    if not fixed:
        for axis, text in zip(graph.output[0].type.tensor_type.shape.dim, axes, strict=True):
            axis.Clear()
            if text.isdigit():
                axis.dim_value = int(text)
            else:
                axis.dim_param = text


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


def _measure_parity(
    data: bytes, reference: nn.Module, bands: int, shapes: Sequence[tuple[int, int, int]]
) -> float:
    """Return the largest difference between a model file and torch."""
    session = import_onnxruntime().InferenceSession(data, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for batch, height, width in shapes:
        image = torch.rand(batch, bands, height, width, generator=generator)
        with torch.inference_mode():
            expected = reference(image).numpy()
        (given,) = session.run(None, {"image": image.numpy()})
        worst = max(worst, float(np.abs(given - expected).max()) if given.shape == expected.shape else np.inf)
    return worst
