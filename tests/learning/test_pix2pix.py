from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from geofootprint.config import PRESETS, TrainConfig, from_dict  # noqa: E402
from geofootprint.errors import ModelError, OptionError  # noqa: E402
from geofootprint.learning.batches import Batch  # noqa: E402
from geofootprint.learning.devices import make_fabric  # noqa: E402
from geofootprint.learning.pix2pix import LOSSES, Average, Pix2Pix  # noqa: E402

if TYPE_CHECKING:
    from lightning.fabric import Fabric

FOOTPRINT = from_dict({"generator": {"width": 4}, "discriminator": {"width": 4}})
PIX2PIX = from_dict({"generator": {"width": 4}, "discriminator": {"width": 4}}, base=PRESETS["pix2pix"])
BOTH = pytest.mark.parametrize("config", [FOOTPRINT, PIX2PIX], ids=["footprint", "pix2pix"])


def make(config: TrainConfig, fabric: Fabric) -> Pix2Pix:
    torch.manual_seed(0)
    return Pix2Pix(config, 3, fabric)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    building = (torch.rand(2, 64, 64, generator=generator) < 0.4).float()
    contour = building * (torch.rand(2, 64, 64, generator=generator) < 0.3)
    valid = (torch.rand(2, 64, 64, generator=generator) < 0.9).float()
    return Batch(torch.rand(2, 3, 64, 64, generator=generator), torch.stack([building, contour], dim=1), valid)


def copy_of(network: nn.Module) -> dict[str, Any]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def weights_equal(network: nn.Module, before: dict[str, Any]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in network.named_parameters())


@BOTH
def test_the_discriminators_step_leaves_the_generator(config: TrainConfig, fabric: Fabric, batch: Batch) -> None:
    networks = make(config, fabric)
    generator, discriminator = copy_of(networks.generator.module), copy_of(networks.discriminator.module)
    logits = networks.generator(batch.image)
    networks.discriminator_step(batch, logits.detach())
    assert weights_equal(networks.generator.module, generator)
    assert not weights_equal(networks.discriminator.module, discriminator)
    assert all(weight.grad is None for weight in networks.generator.module.parameters())


@BOTH
def test_the_generators_step_leaves_the_discriminator(config: TrainConfig, fabric: Fabric, batch: Batch) -> None:
    networks = make(config, fabric)
    generator, discriminator = copy_of(networks.generator.module), copy_of(networks.discriminator.module)
    networks.generator_step(batch, networks.generator(batch.image), adversarial=True)
    assert weights_equal(networks.discriminator.module, discriminator)
    assert not weights_equal(networks.generator.module, generator)
    assert all(weight.grad is None for weight in networks.discriminator.module.parameters())


def test_the_adversarial_loss_alone_moves_the_generator(fabric: Fabric, batch: Batch) -> None:
    loss = replace(PIX2PIX.loss, l1=0.0)
    networks = make(replace(PIX2PIX, loss=loss), fabric)
    before = copy_of(networks.generator.module)
    networks.step(batch, adversarial=True)
    moved = [not torch.equal(value, before[name]) for name, value in networks.generator.module.named_parameters()]
    assert all(moved)


def test_the_order_is_that_of_the_paper(
    fabric: Fabric, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = make(PIX2PIX, fabric)
    seen: list[tuple[str, Any]] = []
    for name in ("generator", "discriminator"):
        network = getattr(networks, name)
        network.register_forward_pre_hook(lambda _module, given, name=name: seen.append((name, given)))
        optimizer = getattr(networks, f"{name}_optimizer")
        step = optimizer.step

        def record(name: str = name, step: Any = step) -> None:
            seen.append((f"{name} step", ()))
            step()

        monkeypatch.setattr(optimizer, "step", record)
    bare = networks.discriminator.module.register_forward_pre_hook(lambda *_: seen.append(("judge", ())))
    networks.step(batch, adversarial=True)
    bare.remove()
    assert [name for name, _ in seen] == [
        "generator",
        "discriminator", "judge",  # image and target
        "discriminator", "judge",  # image and output
        "discriminator step",
        "judge",  # again, since it has moved
        "generator step",
    ]
    (image, target), (image_again, output) = seen[1][1], seen[3][1]
    assert torch.equal(image, batch.image * 2 - 1)
    assert torch.equal(image_again, image)
    assert torch.equal(target, (batch.target * 2 - 1) * batch.valid[:, None])
    assert not torch.equal(output, target)
    assert not output.requires_grad


def test_one_step_by_hand(fabric: Fabric, batch: Batch) -> None:
    networks = make(PIX2PIX, fabric)
    networks.generator.module.apply(without_dropout)
    generator, judge = copy.deepcopy(networks.generator.module), copy.deepcopy(networks.discriminator.module)
    adam = torch.optim.Adam(judge.parameters(), 2e-4, (0.5, 0.999))
    losses = networks.step(batch, adversarial=True)

    image, valid = batch.image * 2 - 1, batch.valid[:, None]
    output = torch.tanh(generator(batch.image) / 2)  # the paper's output, of -1 to 1
    target = batch.target * 2 - 1
    real, fake = judge(image, target * valid), judge(image, output.detach() * valid)
    loss_real, loss_fake = F.softplus(-real).mean(), F.softplus(fake).mean()
    ((loss_real + loss_fake) / 2).backward()
    adam.step()
    adversarial = F.softplus(-judge(image, output * valid)).mean()
    l1 = ((output - target).abs() * valid).sum() / (2 * valid.sum())
    expected = {"discriminator_real": loss_real, "discriminator_fake": loss_fake, "adversarial": adversarial, "l1": l1}
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4), name
    (100 * l1 + adversarial).backward()
    steps = torch.optim.Adam(generator.parameters(), 2e-4, (0.5, 0.999))
    steps.step()
    for mine, theirs in zip(networks.generator.module.parameters(), generator.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=5e-5)  # of steps of 2e-4: Adam turns rounding of tiny gradients into some


def without_dropout(module: nn.Module) -> None:
    if isinstance(module, nn.Dropout):
        module.p = 0.0


def test_losses_of_the_default_by_hand(fabric: Fabric, batch: Batch) -> None:
    networks = make(FOOTPRINT, fabric)
    logits = torch.zeros(2, 2, 64, 64, requires_grad=True) + 0 * networks.generator(batch.image)
    losses = networks.generator_step(batch, logits, adversarial=False)
    known = batch.valid.sum()
    building, contour = ((batch.target[:, channel] * batch.valid).sum() for channel in (0, 1))
    ln2 = math.log(2)
    assert losses["bce"].item() == pytest.approx(ln2, rel=1e-5)
    assert losses["dice"].item() == pytest.approx(1 - (building + 1).item() / (known / 2 + building + 1).item(), rel=1e-5)
    dice_contour = 1 - (contour + 1).item() / (known / 2 + contour + 1).item()
    assert losses["contour"].item() == pytest.approx(ln2 + dice_contour, rel=1e-5)
    assert losses["l1"].item() == pytest.approx(1.0)  # 0 is 1 away from -1 and from 1
    assert "adversarial" not in losses


def test_without_the_discriminator_it_stays(fabric: Fabric, batch: Batch) -> None:
    networks = make(FOOTPRINT, fabric)
    before = copy_of(networks.discriminator.module)
    assert networks.step(batch, adversarial=False).keys() == {"bce", "dice", "contour", "l1"}
    assert weights_equal(networks.discriminator.module, before)
    assert networks.step(batch, adversarial=True).keys() == set(LOSSES) - {"touch"}


@pytest.mark.parametrize(
    ("channels", "classes"),
    [
        ({"contour": False}, ("building",)),
        ({"contour": False, "touch": True}, ("building", "touch")),
        ({"touch": True}, ("building", "contour", "touch")),
    ],
)
def test_channels_can_be_left_out_and_added(
    fabric: Fabric, batch: Batch, channels: dict[str, bool], classes: tuple[str, ...]
) -> None:
    networks = make(from_dict({"data": channels}, base=FOOTPRINT), fabric)
    target = batch.target[:, [0, 1, 1]][:, : len(classes)]
    losses = networks.step(replace(batch, target=target), adversarial=1.0)
    assert networks.generator(batch.image).shape[1] == len(classes)
    assert losses.keys() == (set(LOSSES) - {"contour", "touch"}) | set(classes[1:])
    assert all(torch.isfinite(value) for value in losses.values())


def test_the_discriminator_cannot_tell_soft_from_hard(fabric: Fabric, batch: Batch) -> None:
    networks = make(FOOTPRINT, fabric)
    hard = batch.target
    assert networks._shown(hard, batch.valid).unique().numel() > 1000
    plain = make(PIX2PIX, fabric)
    assert set(plain._shown(hard, batch.valid).unique().tolist()) == {-1.0, 0.0, 1.0}


def test_gradients_are_clipped(fabric: Fabric, batch: Batch) -> None:
    loud = replace(FOOTPRINT, loss=replace(FOOTPRINT.loss, l1=1e6))
    networks = make(loud, fabric)
    networks.step(batch, adversarial=False)
    norm = nn.utils.get_total_norm([weight.grad for weight in networks.generator.module.parameters()])
    assert norm.item() == pytest.approx(10, rel=1e-3)
    free = make(replace(loud, optimizer=replace(loud.optimizer, clip=0.0)), fabric)
    free.step(batch, adversarial=False)
    norm = nn.utils.get_total_norm([weight.grad for weight in free.generator.module.parameters()])
    assert norm.item() > 1000


def test_rates_are_shares_of_their_highest(fabric: Fabric) -> None:
    networks = make(FOOTPRINT, fabric)
    networks.set_rate(0.5)
    assert networks.generator_optimizer.param_groups[0]["lr"] == pytest.approx(5e-4)
    assert networks.discriminator_optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_the_paper_draws_small_weights(fabric: Fabric) -> None:
    networks = make(from_dict({"generator": {"width": 8}}, base=PRESETS["pix2pix"]), fabric)
    kernels = torch.cat([
        module.weight.flatten()
        for network in (networks.generator, networks.discriminator)
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
    ])
    assert kernels.mean().item() == pytest.approx(0, abs=1e-4)
    assert kernels.std().item() == pytest.approx(0.02, rel=0.01)


def test_the_first_average_is_the_weights_and_later_ones_follow() -> None:
    network: Any = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1))
    average: Any = Average(network, decay=0.5)
    values = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0]
    expected = values[0]
    for count, value in enumerate(values):
        with torch.no_grad():
            network[0].weight.fill_(value)
            network[1].running_mean.fill_(-value)
            network[1].num_batches_tracked.fill_(count)
        average.update(network)
        stays = min(0.5, (1 + count) / (10 + count)) if count else 0.0
        expected = stays * expected + (1 - stays) * value
        assert average.network[0].weight.item() == pytest.approx(expected, rel=1e-6)
        assert average.network[1].running_mean.item() == pytest.approx(-expected, rel=1e-6)
        assert average.network[1].num_batches_tracked.item() == count
    assert stays == 0.5
    assert not average.network.training
    assert network.training


def test_the_average_is_what_predicts(fabric: Fabric, batch: Batch) -> None:
    networks = make(FOOTPRINT, fabric)
    for _ in range(3):
        networks.step(batch, adversarial=False)
    assert networks.average is not None
    assert networks.predictor is networks.average.network
    assert not weights_equal(networks.generator.module, copy_of(networks.predictor))
    assert not any(weight.requires_grad for weight in networks.predictor.parameters())
    assert make(PIX2PIX, fabric).average is None


@BOTH
def test_a_state_is_gone_on_from_to_the_bit(config: TrainConfig, fabric: Fabric, batch: Batch) -> None:
    def steps(networks: Pix2Pix, count: int) -> None:
        for number in range(count):
            torch.manual_seed(number)
            networks.step(batch, adversarial=True)

    one = make(config, fabric)
    steps(one, 2)
    state = copy.deepcopy(one.state())
    steps(one, 2)
    torch.manual_seed(99)
    other = Pix2Pix(config, 3, fabric)
    other.load_state(state, "last.ckpt")
    steps(other, 2)
    for name in ("generator", "discriminator"):
        expected = getattr(one, name).module.state_dict()
        assert all(
            torch.equal(value, expected[key]) for key, value in getattr(other, name).module.state_dict().items()
        ), name
    expected = one.predictor.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in other.predictor.state_dict().items())


def test_states_of_other_networks_are_refused(fabric: Fabric) -> None:
    networks = make(FOOTPRINT, fabric)
    other = make(from_dict({"generator": {"width": 6}, "discriminator": {"width": 4}}), fabric)
    with pytest.raises(ModelError, match=r"last\.ckpt does not hold the networks that its configuration asks for"):
        networks.load_state(other.state(), "last.ckpt")
    checkpoint = {"networks": other.state(), "config": {"generator": {"name": "unet", "width": 6, "stride": 2}}}
    with pytest.raises(ModelError, match=r"x\.ckpt does not hold .* \(name unet, width 4, .* \(name unet, width 6"):
        networks.start_from(checkpoint, "x.ckpt")
    with pytest.raises(ModelError, match=r"x\.ckpt does not hold this run's generator"):
        networks.start_from({}, "x.ckpt")


def test_a_run_starts_from_the_average_of_another(fabric: Fabric, batch: Batch) -> None:
    one = make(FOOTPRINT, fabric)
    one.step(batch, adversarial=False)
    one.step(batch, adversarial=False)
    other = Pix2Pix(FOOTPRINT, 3, fabric)
    other.start_from({"networks": one.state()}, "best.ckpt")
    expected = one.predictor.state_dict()
    for network in (other.generator.module, other.predictor):
        assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())


def test_too_little_for_batch_normalisation(fabric: Fabric, batch: Batch) -> None:
    networks = make(FOOTPRINT, fabric)
    single = Batch(batch.image[:1], batch.target[:1], batch.valid[:1])
    with pytest.raises(OptionError, match=r"unet needs more than 1 crop\(s\) of 64 px at once; raise data.batch"):
        networks.step(single, adversarial=False)


def test_bfloat16_learns_with_losses_in_float32(batch: Batch) -> None:
    networks = make(FOOTPRINT, make_fabric(device="cpu", precision="bf16"))
    losses = networks.step(batch, adversarial=True)
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in losses.values())
    assert all(weight.dtype == torch.float32 for weight in networks.generator.module.parameters())


def test_the_paper_at_its_own_size(fabric: Fabric) -> None:
    networks = make(from_dict({"generator": {"width": 8}, "discriminator": {"width": 8}}, base=PRESETS["pix2pix"]), fabric)
    target = torch.zeros(1, 2, 256, 256)
    target[..., 50:100, 50:100] = 1
    batch = Batch(torch.rand(1, 3, 256, 256), target, torch.ones(1, 256, 256))
    first = networks.step(batch, adversarial=True)
    for _ in range(3):
        last = networks.step(batch, adversarial=True)
    assert last["l1"] < first["l1"]
