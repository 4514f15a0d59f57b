"""A trained model at run time: what it says of itself, and probabilities for a batch of patches.

A model file is ONNX with one JSON object under the metadata key `geofootprint`. It is read without torch and
without unpickling anything; OpenVINO runs it on CPUs, onnxruntime elsewhere and on CUDA.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from geofootprint.errors import MissingDependencyError, MissingFileError, ModelError, OptionError
from geofootprint.onnx_metadata import read_metadata
from geofootprint.scaling import Scaling

__all__ = [
    "BACKENDS",
    "DEFAULT_MODEL",
    "DEVICES",
    "METADATA_KEY",
    "SCHEMA",
    "Model",
    "ModelInfo",
    "import_onnxruntime",
    "load_model",
    "read_info",
]

DEFAULT_MODEL = Path(__file__).parent / "weights" / "default.onnx"
"""The model that comes along."""

DEVICES = ("auto", "cpu", "cuda")
BACKENDS = ("openvino", "onnxruntime")

METADATA_KEY = "geofootprint"
SCHEMA = 2
"""Number of the JSON object's format; goes up when a reader of the old one would misread the new one."""

WITHOUT_OFFSET = 1
"""The format of what has no `offset`, which came with the second."""

REMEDY = "give a file made by geofootprint export"

CUDA_BATCH = 4
"""Patches a GPU gets at once; a CPU gets one, which is as fast there and bounds the memory."""

KEPT_SHAPES = 2
"""Batch shapes for which a compiled network is kept."""


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself.

    Parameters
    ----------
    name : str
        For people; `sha256` tells two models apart.
    bands : int
        Colour bands of the image.
    gsd : float
        Metres per pixel that the image is resampled to.
    gsd_range : (float, float)
        Metres per pixel of images that it was trained for.
    dtype : str
        Pixel type that it was trained on.
    scale : mapping of str to tuple of float
        For each pixel type it takes, what each band is divided by to give 0..1.
    offset : mapping of str to tuple of float
        For each pixel type that has one, what is taken from each band before.
    classes : tuple of str
        Channels of `Model.predict`, in order.
    channels : tuple of str
        Channels of the file's output, in order; may hold more than `classes`.
    threshold : float
        Probability from which a pixel is building.
    patch, overlap : int
        Side of a patch and pixels that neighbouring ones share.
    context : int
        Outermost pixels of a patch that get no weight, since they see too little around them.
    preset, licence, config_hash, version : str
        How, under which licence, with which configuration and by which version it was made.
    training : tuple of mappings
        Data that it was trained on, each with its licence.
    scores : mapping
        As of its validation.
    sha256 : str
        Of the file.
    """

    name: str
    bands: int
    gsd: float
    gsd_range: tuple[float, float]
    classes: tuple[str, ...] = ("building", "contour")
    channels: tuple[str, ...] = ()
    dtype: str = "uint8"
    scale: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    offset: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    threshold: float = 0.5
    patch: int = 768
    overlap: int = 128
    context: int = 32
    preset: str = ""
    licence: str = ""
    config_hash: str = ""
    version: str = ""
    training: tuple[Mapping[str, Any], ...] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels) or tuple(self.classes))
        if not self.scale:
            if np.dtype(self.dtype).kind not in "iu":
                raise ModelError(f"The model {self.name} does not say the scale of {self.dtype} pixels; export it again.")
            object.__setattr__(self, "scale", {self.dtype: (float(np.iinfo(self.dtype).max),) * self.bands})
        if any(len(values) != self.bands for values in (*self.scale.values(), *self.offset.values())):
            raise ModelError(f"The model {self.name} needs a scale for each of its {self.bands} bands; export it again.")
        if not 0 <= 2 * self.context < max(self.overlap, 1) <= self.patch // 2:
            raise ModelError(
                f"The model {self.name} has an overlap of {self.overlap} px, but it must be at most half of the "
                f"patch of {self.patch} px and more than twice the context of {self.context} px; export it again."
            )
        if not set(self.classes) <= set(self.channels):
            raise ModelError(f"The model {self.name} lacks a channel for {self.classes}; export it again.")

    def scaling(self, dtype: str) -> Scaling:
        """Return what makes 0..1 of pixels of a type of `scale`."""
        return Scaling(self.offset.get(dtype, (0.0,) * self.bands), self.scale[dtype])

    def to_json(self) -> str:
        """Return the JSON object that a model file carries; the hash of the file is not in it."""
        schema = SCHEMA if self.offset else WITHOUT_OFFSET
        return json.dumps({"schema": schema} | {k: v for k, v in asdict(self).items() if k != "sha256"})

    @classmethod
    def from_json(cls, text: str, *, name: str, sha256: str = "") -> ModelInfo:
        """Read what `to_json` wrote; keys of later versions are left out.

        Parameters
        ----------
        text : str
            The JSON object.
        name : str
            The file, for messages.
        sha256 : str
            Its hash.

        Raises
        ------
        ModelError
            If the object is of a newer schema or incomplete.
        """
        try:
            told = json.loads(text)
            if told["schema"] > SCHEMA:
                newer = f"has schema {told['schema']}, this version knows {SCHEMA}"
                raise ModelError(f"{name} was made by a newer geofootprint ({newer}); upgrade geofootprint.")
            known = {f.name: _frozen(told[f.name]) for f in fields(cls) if f.name in told}
            return cls(**{**known, "sha256": sha256})
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ModelError(f"{name} describes itself incompletely ({error}); export it again.") from error


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return value


class Model:
    """Gives probabilities for patches.

    Made by `load_model`; any function of the same shape makes one too.

    Parameters
    ----------
    info : ModelInfo
    run : callable
        From float32 (N, bands, H, W) of 0..1 to float32 (N, channels, H, W) of 0..1.
    backend : str
        What runs it, for people.
    batch_size : int
        Patches that are best given at once.
    """

    def __init__(
        self,
        info: ModelInfo,
        run: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        *,
        backend: str = "function",
        batch_size: int = 1,
    ) -> None:
        self.info = info
        self.backend = backend
        self.batch_size = batch_size
        self._run = run
        self._picked = [info.channels.index(name) for name in info.classes]

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities of each class.

        Parameters
        ----------
        batch : float32 array of shape (N, bands, H, W)
            0..1.

        Returns
        -------
        float32 array of shape (N, classes, H, W)
            0..1.

        Raises
        ------
        ModelError
            If the number of bands is not the model's.
        """
        if batch.ndim != 4 or batch.shape[1] != self.info.bands:
            wanted = f"(N, {self.info.bands}, H, W)"
            raise ModelError(f"The model {self.info.name} takes arrays of shape {wanted}, not {batch.shape}.")
        out = self._run(np.ascontiguousarray(batch, np.float32))
        return out if len(self._picked) == out.shape[1] else out[:, self._picked]


def read_info(path: str | os.PathLike[str] | None = None) -> ModelInfo:
    """Read what a model file says of itself, without loading it.

    Parameters
    ----------
    path : path, optional
        The model that comes along by default.

    Raises
    ------
    MissingFileError
        If nothing is at `path`.
    ModelError
        If the file is no ONNX, is damaged, or was not made by geofootprint.
    """
    file = Path(path if path is not None else DEFAULT_MODEL)
    if not file.is_file():
        if path is None:
            raise MissingFileError(f"The default model {file} is missing; install geofootprint again.")
        raise MissingFileError(f"{file} does not exist or is a folder; check the path of the model.")
    try:
        metadata, sha256 = read_metadata(file)
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}); check its permissions.") from error
    except (ValueError, IndexError) as error:
        raise ModelError(f"{file} is no ONNX model or is damaged; {REMEDY}.") from error
    if METADATA_KEY not in metadata:
        raise ModelError(f"{file} is an ONNX model that does not say which images it takes; {REMEDY}.")
    return ModelInfo.from_json(metadata[METADATA_KEY], name=str(file), sha256=sha256)


def load_model(
    path: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    backend: str | None = None,
    threads: int | None = None,
) -> Model:
    """Load a model file.

    Parameters
    ----------
    path : path, optional
        The model that comes along by default.
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes CUDA where onnxruntime has it.
    backend : {"openvino", "onnxruntime"}, optional
        By default OpenVINO on CPUs where it is installed, else onnxruntime.
    threads : int, optional
        On CPUs; all cores by default.

    Raises
    ------
    MissingFileError, ModelError
        As of `read_info`, or if the file holds what the backend cannot run.
    OptionError
        If there is no such device or backend.
    MissingDependencyError
        If the backend or CUDA's is not installed.
    """
    _check_options(device, backend, threads)
    info = read_info(path)
    file = Path(path if path is not None else DEFAULT_MODEL)
    if backend == "openvino" and device == "cuda":
        raise OptionError("OpenVINO does not run on CUDA; choose the backend onnxruntime or the device cpu.")
    if backend != "openvino" and device != "cpu" and _has_cuda(required=device == "cuda"):
        session = _OnnxRuntime(file, threads, cuda=True)
        if session.on_cuda:
            return Model(info, session, backend="onnxruntime on CUDA", batch_size=CUDA_BATCH)
        if device == "cuda":
            raise OptionError("No usable CUDA device was found; update its driver or choose the device cpu.")
    if backend == "openvino" or (backend is None and find_spec("openvino") is not None):
        return Model(info, _OpenVINO(file, threads), backend="OpenVINO on CPU")
    return Model(info, _OnnxRuntime(file, threads), backend="onnxruntime on CPU")


def _check_options(device: str, backend: str | None, threads: int | None) -> None:
    if device not in DEVICES:
        raise OptionError(f"There is no device '{device}'; use one of {', '.join(DEVICES)}.")
    if backend is not None and backend not in BACKENDS:
        raise OptionError(f"There is no backend '{backend}'; use one of {', '.join(BACKENDS)}.")
    if threads is not None and threads < 1:
        raise OptionError(f"The number of threads must be at least 1, not {threads}.")


def _has_cuda(*, required: bool) -> bool:
    """Say whether the installed onnxruntime was built for CUDA, importing it only where that is likely."""
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        built = False
    elif not required and not any(Path(spec.origin).parent.glob("capi/*onnxruntime_providers_cuda*")):
        return False
    else:
        built = "CUDAExecutionProvider" in import_onnxruntime().get_available_providers()
    if required and not built:
        raise MissingDependencyError("The device cuda needs onnxruntime-gpu; install it or choose cpu.")
    return built


def import_onnxruntime() -> Any:
    """Import onnxruntime so that it sends nothing.

    From 1.29 it reports to Microsoft and leaves an identifier in the home, but for this variable, which it reads once.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("No backend is installed; install onnxruntime.") from error
    onnxruntime.disable_telemetry_events()  # the builds for Windows go by this
    return onnxruntime


def _import_openvino() -> Any:
    """Import OpenVINO so that it sends nothing.

    Its converter, which comes along, reports the import to Google Analytics and leaves an identifier in the home. It
    does without where the package for that cannot be imported.
    """
    module = "openvino_telemetry"
    before = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise MissingDependencyError("OpenVINO is not installed; install openvino.") from error
    finally:
        del sys.modules[module]
        if before is not None:
            sys.modules[module] = before
    return openvino


class _OpenVINO:
    """Runs a model on the CPU, compiled for each shape it meets: a fixed one needs a fifth less memory."""

    def __init__(self, file: Path, threads: int | None) -> None:
        self._core = _import_openvino().Core()
        self._file = file
        self._options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "CACHE_DIR": ""}
        if threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = threads
        if not _bfloat16_pays():
            self._options["INFERENCE_PRECISION_HINT"] = "f32"
        self._requests: dict[tuple[int, ...], Any] = {}
        try:
            self._network = self._core.read_model(file)
        except RuntimeError as error:
            raise ModelError(_refusal(file, "OpenVINO", error)) from error

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if batch.shape not in self._requests:
            while len(self._requests) >= KEPT_SHAPES:
                del self._requests[next(iter(self._requests))]
            self._requests[batch.shape] = self._compile(batch.shape)
        return cast("NDArray[np.float32]", self._requests[batch.shape].infer([batch])[0])

    def _compile(self, shape: tuple[int, ...]) -> Any:
        try:
            self._network.reshape(list(shape))
            return self._core.compile_model(self._network, "CPU", self._options).create_infer_request()
        except RuntimeError as error:
            raise ModelError(_refusal(self._file, "OpenVINO", error)) from error


@lru_cache
def _bfloat16_pays() -> bool:
    """Say whether 16 bit floats, OpenVINO's choice, are faster: with a matrix unit 2 to 4 times, else not.

    Where the system does not tell, the choice is left to OpenVINO.
    """
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True


class _OnnxRuntime:
    """Runs a model with onnxruntime."""

    def __init__(self, file: Path, threads: int | None, *, cuda: bool = False) -> None:
        onnxruntime = import_onnxruntime()
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; they arrive as exceptions
        options.intra_op_num_threads = threads or 0
        options.enable_cpu_mem_arena = cuda  # the arena keeps the largest patch's memory for nothing
        providers = [*(["CUDAExecutionProvider"] if cuda else []), "CPUExecutionProvider"]
        refusals = (
            state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf,
            state.NotImplemented, state.RuntimeException,
        )
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=providers)
        except refusals as error:
            raise ModelError(_refusal(file, "onnxruntime", error)) from error
        self._input = self._session.get_inputs()[0].name
        self.on_cuda = "CUDAExecutionProvider" in self._session.get_providers()

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return cast("NDArray[np.float32]", self._session.run(None, {self._input: batch})[0])


def _refusal(file: Path, backend: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"{file} cannot be run by {backend}; export it again, or upgrade {backend.lower()} ({reason})."
