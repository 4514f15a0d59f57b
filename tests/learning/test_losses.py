from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.learning.losses import adversarial_loss, bce_loss, dice_loss, l1_loss  # noqa: E402

# Two pixels are known: logit 0 (probability 0.5) of a building, logit ln 3 (probability 0.75) of none.
LOGITS = torch.tensor([[[0.0, math.log(3), 99.0]]])
TARGET = torch.tensor([[[1.0, 0.0, 0.0]]])
VALID = torch.tensor([[[1.0, 1.0, 0.0]]])


def test_bce_by_hand() -> None:
    expected = -(math.log(0.5) + math.log(0.25)) / 2
    assert bce_loss(LOGITS, TARGET, VALID).item() == pytest.approx(expected)


def test_dice_by_hand() -> None:
    expected = 1 - (2 * 0.5 + 1) / (0.5 + 0.75 + 1 + 1)
    assert dice_loss(LOGITS, TARGET, VALID).item() == pytest.approx(expected)


def test_l1_by_hand() -> None:
    predicted = torch.stack([torch.tensor([[0.5, 0.75, 9.0]]), torch.tensor([[0.0, 0.25, 9.0]])])[None]
    target = torch.stack([torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0]])])[None]
    assert predicted.shape == (1, 2, 1, 3)
    # Of the first pixel 0.5 and 0, of the second 0.75 and 0.25.
    assert l1_loss(predicted, target, VALID).item() == pytest.approx((0.25 + 0.5) / 2)


@pytest.mark.parametrize(("real", "expected"), [(True, -math.log(0.25)), (False, -math.log(0.75))])
def test_adversarial_by_hand(real: bool, expected: float) -> None:
    logits = torch.full((1, 1, 2, 2), -math.log(3))  # judged real with probability 0.25
    assert adversarial_loss(logits, real=real).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [bce_loss, dice_loss])
def test_nothing_known_is_no_loss_to_learn_from(loss: object) -> None:
    logits = torch.randn(2, 4, 4, requires_grad=True)
    value = loss(logits, torch.ones(2, 4, 4), torch.zeros(2, 4, 4))  # type: ignore[operator]
    value.backward()
    assert value.item() == pytest.approx(0)
    assert logits.grad is not None
    assert not logits.grad.any()


def test_unknown_pixels_have_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    (bce_loss(logits, TARGET, VALID) + dice_loss(logits, TARGET, VALID)).backward()
    assert logits.grad is not None
    assert logits.grad[..., 2] == 0
    assert (logits.grad[..., :2] != 0).all()


def test_losses_of_half_floats_are_of_floats() -> None:
    half = LOGITS.bfloat16()
    assert bce_loss(half, TARGET, VALID).dtype == torch.float32
    assert dice_loss(half, TARGET, VALID).dtype == torch.float32
    assert adversarial_loss(half, real=True).dtype == torch.float32
