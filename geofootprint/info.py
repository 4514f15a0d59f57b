"""What is installed and what it can do, in a moment and without loading any of it."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geofootprint._version import __version__
from geofootprint.errors import GeofootprintError
from geofootprint.progress import PROTOCOL

if TYPE_CHECKING:
    from geofootprint.model import ModelInfo

__all__ = ["PACKAGES", "TRAINING", "info"]

PACKAGES = (
    "numpy", "rasterio", "pyogrio", "pyproj", "shapely", "geopandas", "opencv-python-headless", "onnxruntime",
    "onnxruntime-gpu", "openvino", "torch", "lightning-fabric", "onnx",
)
"""Distributions whose versions matter in a report of a defect."""

TRAINING = (
    "torch", "lightning_fabric", "onnx", "onnxscript", "PIL", "psutil", "segmentation_models_pytorch", "tensorboardX",
)
"""Modules that training and exporting import."""


def info(model: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Return versions and capabilities.

    Parameters
    ----------
    model : path, optional
        Model file to describe; the one that comes along by default.

    Returns
    -------
    dict
        ``geofootprint``, ``python``, ``platform``, ``executable`` (str); ``protocol`` (int), of the progress lines;
        ``versions`` (dict of str to str or None where not installed), with the C libraries GDAL, GEOS and PROJ;
        ``model``, its name, sha256, gsd, bands and threshold, or None where the default model is missing;
        ``devices`` (list of str), among cpu and cuda; ``can_train`` (bool).

    Raises
    ------
    MissingFileError, ModelError
        If the model file that is given cannot be used.
    """
    from geofootprint.model import read_info

    return {
        "geofootprint": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        "protocol": PROTOCOL,
        "versions": {name: _find_version(name) for name in PACKAGES} | _find_libraries(),
        "model": _describe_default_model() if model is None else _describe(read_info(model)),
        "devices": ["cpu", *(["cuda"] if _has_cuda() else [])],
        "can_train": all(find_spec(module) is not None for module in TRAINING),
    }


def _find_version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _find_libraries() -> dict[str, str | None]:
    import pyproj
    import rasterio
    import shapely

    return {
        "GDAL": rasterio.__gdal_version__,
        "GEOS": ".".join(map(str, shapely.geos_version)),
        "PROJ": pyproj.proj_version_str,
    }


def _describe_default_model() -> dict[str, Any] | None:
    from geofootprint.model import read_info

    try:
        return _describe(read_info())
    except GeofootprintError:
        return None


def _describe(model: ModelInfo) -> dict[str, Any]:
    return {
        "name": model.name, "sha256": model.sha256, "gsd": model.gsd, "bands": model.bands, "threshold": model.threshold,
    }


def _has_cuda() -> bool:
    """Say whether onnxruntime was built for CUDA and the driver is there; neither is loaded."""
    spec = find_spec("onnxruntime")
    built = spec is not None and spec.origin is not None and any(
        Path(spec.origin).parent.glob("capi/*onnxruntime_providers_cuda*")
    )
    driver = Path("/proc/driver/nvidia/version").exists() or Path(r"C:\Windows\System32\nvcuda.dll").exists()
    return built and driver
