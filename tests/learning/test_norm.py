"""Batch normalisation over processes, with a stand-in for the other one; real ones are tested by the command."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from torch import distributed, nn  # noqa: E402

from geofootprint.learning.networks import PatchGAN, UNet  # noqa: E402
from geofootprint.learning.networks.norm import SharedBatchNorm, share_batch_norm  # noqa: E402


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another process have the same batch as this one: every sum is twice ours."""
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda tensor: tensor.mul_(2))


def test_names_and_weights_stay() -> None:
    torch.manual_seed(0)
    for network in (UNet(3, 2, width=2, levels=2), PatchGAN(5, width=2)):
        before = copy.deepcopy(network.state_dict())
        shared = share_batch_norm(network, torch.device("cpu"))
        assert shared is network
        kinds = {type(module) for module in shared.modules() if isinstance(module, nn.BatchNorm2d)}
        assert kinds == {SharedBatchNorm}
        after = shared.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_with_a_twin_it_is_the_same_as_alone_with_both_batches(twin: None) -> None:
    torch.manual_seed(0)
    alone = nn.BatchNorm2d(3)
    nn.init.uniform_(alone.weight)
    nn.init.uniform_(alone.bias)
    shared = SharedBatchNorm(3)
    shared.load_state_dict(alone.state_dict())
    x, weight = torch.randn(4, 3, 5, 6), torch.randn(4, 3, 5, 6)
    one, both = x.clone().requires_grad_(), torch.cat([x, x]).requires_grad_()
    output, expected = shared(one), alone(both)
    assert torch.allclose(output, expected[:4], atol=1e-5)
    given = torch.autograd.grad((output * weight).sum(), [one, shared.weight, shared.bias])
    wanted = torch.autograd.grad((expected * torch.cat([weight, weight])).sum(), [both, alone.weight, alone.bias])
    assert torch.allclose(given[0], wanted[0][:4], atol=1e-4)
    for half, whole in zip(given[1:], wanted[1:], strict=True):  # those of the processes are added by who shares them
        assert torch.allclose(2 * half, whole, atol=1e-4)
    for name, value in alone.state_dict().items():
        assert torch.allclose(shared.state_dict()[name], value, atol=1e-6), name


def test_in_evaluation_it_is_plain_batch_normalisation() -> None:
    shared, plain = SharedBatchNorm(2).eval(), nn.BatchNorm2d(2).eval()
    x = torch.randn(2, 2, 3, 3)
    assert torch.equal(shared(x), plain(x))
