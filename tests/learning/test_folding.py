from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from networks import stir  # noqa: E402
from torch import nn  # noqa: E402

from geofootprint.config import GeneratorConfig  # noqa: E402
from geofootprint.learning.folding import fold_batch_norm, unfold_batch_norm  # noqa: E402
from geofootprint.learning.networks import build_generator  # noqa: E402


class Shared(nn.Module):
    """Uses one convolution before two normalisations, and one normalisation that follows none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.up = nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 2, 2, bias=False)
        self.twice = nn.Conv2d(4, 4, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(5))

    def forward(self, x: Any) -> Any:
        x = self.norms[1](self.up(self.norms[0](self.first(x))))
        x = self.norms[2](self.twice(x)) + self.norms[3](self.twice(x + 1))
        return self.norms[4](x.relu())


def test_batch_norm_is_folded_where_it_follows_one_convolution() -> None:
    torch.manual_seed(0)
    network = stir(Shared())
    example = torch.rand(2, 3, 9, 9)
    before = copy.deepcopy(network.state_dict())
    folded = fold_batch_norm(network, example)
    kept = [index for index, norm in enumerate(folded.norms) if isinstance(norm, nn.BatchNorm2d)]  # type: ignore[arg-type]
    assert kept == [2, 3, 4]
    assert torch.allclose(folded(example), network(example), atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())



def noise(count: int, *, seed: int = 0) -> list[Any]:
    """Return batches of two images."""
    source = torch.Generator().manual_seed(seed)
    return [torch.rand(2, 3, 64, 96, generator=source) for _ in range(count)]


@pytest.mark.parametrize("name", ["unet", "unet256"])
def test_unfolded_network_predicts_what_the_folded_one_does(name: str) -> None:
    torch.manual_seed(0)
    settings = GeneratorConfig(name, width=4)
    folded = fold_batch_norm(stir(build_generator(settings, 3, 2)), noise(1)[0])
    network = build_generator(settings, 3, 2)
    unfold_batch_norm(network, folded.state_dict(), noise(4))
    image = noise(1, seed=1)[0]
    expected = folded(image)
    assert expected.std() > 0.02
    assert torch.allclose(network(image), expected, atol=1e-4)


def test_unfolded_network_predicts_about_the_same_by_the_statistics_of_a_batch() -> None:
    # What training does. With statistics that undo nothing, mean 0 and variance 1, it would predict something else.
    torch.manual_seed(0)
    settings = GeneratorConfig(width=4)
    folded = fold_batch_norm(stir(build_generator(settings, 3, 2)), noise(1)[0])
    network = build_generator(settings, 3, 2)
    unfold_batch_norm(network, folded.state_dict(), noise(8))
    image = torch.cat(noise(4, seed=1))
    with torch.no_grad():
        expected, trained = folded(image), network.train()(image)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                module.bias.sub_(module.running_mean)
                module.weight.fill_(1)
        naive = network(image)
    off, naively_off = ((given - expected).abs().mean() for given in (trained, naive))
    assert off < 0.3 * naively_off


def test_convolutions_with_a_bias_of_their_own_keep_it() -> None:
    torch.manual_seed(0)
    network = stir(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    image = noise(1)[0]
    folded = fold_batch_norm(network, image)
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    unfold_batch_norm(other, folded.state_dict(), [image])
    assert torch.allclose(other(image), network(image), atol=1e-5)


def test_weights_that_lack_are_named() -> None:
    network = build_generator(GeneratorConfig(width=4), 3, 2)
    weights = fold_batch_norm(network, noise(1)[0]).state_dict()
    del weights["head.bias"]
    with pytest.raises(KeyError, match=r"head\.bias"):
        unfold_batch_norm(network, weights, noise(1))
    with pytest.raises(RuntimeError, match="size mismatch"):
        unfold_batch_norm(build_generator(GeneratorConfig(width=8), 3, 2), {**weights, "head.bias": torch.zeros(2)}, noise(1))
