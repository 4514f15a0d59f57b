"""Models made by code, for tests that need one without training it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofootprint.model import METADATA_KEY, ModelInfo

ROOF = (220, 40, 40)
"""Colour that the toy model takes for a building."""

WALL = (220, 40, 230)
"""Colour that it takes for a building's contour."""

GROUND = (90, 120, 70)


def write_toy_model(path: Path, **info: Any) -> Path:
    """Write a model that sees buildings where red exceeds green, and contours where there is blue.

    Parameters
    ----------
    path : pathlib.Path
        Ends in .onnx.
    **info
        Further fields of `geofootprint.model.ModelInfo`.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.array([[12, -12, 0], [0, 0, 12]], np.float32).reshape(2, 3, 1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weights", "bias"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
        ],
        "toy",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2, "H", "W"])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([-4, -6], np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    known: dict[str, Any] = {"gsd": 0.15, "gsd_range": (0.1, 0.3), "patch": 64, "overlap": 16, "context": 0}
    told = ModelInfo(**{"name": "toy", "bands": 3, **known, **info})
    helper.set_model_props(model, {METADATA_KEY: told.to_json()})
    onnx.save(model, path)
    return path


def paint_roofs(size: tuple[int, int], roofs: list[tuple[int, int, int, int]]) -> NDArray[np.uint8]:
    """Return an image (3, height, width) with roofs at (top, left, bottom, right); the outer 2 px are wall."""
    image = np.empty((3, *size), np.uint8)
    image[:] = np.array(GROUND, np.uint8)[:, None, None]
    for top, left, bottom, right in roofs:
        image[:, top:bottom, left:right] = np.array(WALL, np.uint8)[:, None, None]
        image[:, top + 2 : bottom - 2, left + 2 : right - 2] = np.array(ROOF, np.uint8)[:, None, None]
    return image
