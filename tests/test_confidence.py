from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from geofootprint import confidence as module
from geofootprint.confidence import COEFFICIENTS, FEATURES, LARGE, confidence, describe_buildings


def labelled(*, size: int = 120) -> NDArray[np.int32]:
    """Return a square alone, two attached ones, one at the edge of the data, a disc."""
    labels = np.zeros((size, size), np.int32)
    labels[10:30, 10:30] = 1
    labels[50:70, 10:30] = 2
    labels[50:70, 30:40] = 3
    labels[90:110, 10:30] = 4
    labels[110:] = -1
    rows, columns = np.indices(labels.shape)
    labels[(rows - 30) ** 2 + (columns - 80) ** 2 <= 20**2] = 5
    return labels


def test_features_of_known_shapes() -> None:
    labels = labelled()
    building = np.where(labels > 0, 204, 10).astype(np.uint8)
    building[50:70, 30:40] = 102
    table = dict(zip(FEATURES, describe_buildings(building, labels, pixel_area=0.04).T, strict=True))
    assert table["mean"].tolist() == pytest.approx([0.8, 0.8, 0.4, 0.8, 0.8])
    assert table["attached"].tolist() == pytest.approx([0, 0.25, 20 / 60, 0, 0])
    assert table["at_edge"].tolist() == [0, 0, 0, 1, 0]
    assert np.exp(table["size"][:4]).tolist() == pytest.approx([16, 16, 8, 16])
    assert table["compactness"][4] == pytest.approx(1, abs=0.06)
    assert 0.8 < table["compactness"][0] < 0.95
    assert table["compactness"][2] < table["compactness"][0]


def test_bands_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = labelled()
    building = np.random.default_rng(0).integers(0, 256, labels.shape).astype(np.uint8)
    whole = describe_buildings(building, labels, pixel_area=0.04)
    for rows in (1, 7, 119):
        monkeypatch.setattr(module, "BAND", rows * labels.shape[1])
        assert describe_buildings(building, labels, pixel_area=0.04).tobytes() == whole.tobytes()


def test_compactness_does_not_depend_on_the_angle() -> None:
    found = []
    for angle in (0, 20, 45):
        box = cv2.boxPoints(((100.0, 100.0), (90.0, 60.0), angle))
        labels = np.zeros((200, 200), np.int32)
        cv2.fillPoly(labels, [np.round(box).astype(np.int32)], (1,))
        found.append(describe_buildings(np.zeros(labels.shape, np.uint8), labels, pixel_area=1.0)[0, 2])
    assert max(found) - min(found) < 0.15


def test_large_buildings_are_of_one_size_and_missing_labels_not_numbers() -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[5:50, 5:50] = 2
    table = describe_buildings(np.full(labels.shape, 255, np.uint8), labels, pixel_area=1.0)
    assert np.isnan(table[0]).all()
    assert table[1, FEATURES.index("size")] == pytest.approx(np.log(LARGE))
    assert describe_buildings(labels.astype(np.uint8), labels * 0, pixel_area=1.0).shape == (0, len(FEATURES))


def test_confidence_rises_with_what_makes_a_building_sure() -> None:
    plain = {"mean": 0.9, "attached": 0.2, "compactness": 0.7, "size": 3.5, "at_edge": 0.0}
    assert set(plain) == set(FEATURES)
    assert set(COEFFICIENTS) == {"intercept", *FEATURES}

    def of(**changed: float) -> float:
        return float(confidence(np.array([[(plain | changed)[name] for name in FEATURES]]))[0])

    assert 0 < of(mean=0.7) < of() < of(mean=1.0) < 1
    assert of(size=1.5) < of() < of(size=4.0)
    assert of(attached=0.8) < of()
    assert confidence(np.zeros((0, len(FEATURES)))).tolist() == []


def test_each_building_gets_the_same_alone_and_among_others() -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 1, (1000, len(FEATURES)))
    alone = np.concatenate([confidence(row[None]) for row in features])
    assert alone.tobytes() == confidence(features).tobytes()
