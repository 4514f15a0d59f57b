from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from torch import nn  # noqa: E402

from geofootprint.config import GeneratorConfig  # noqa: E402
from geofootprint.errors import OptionError  # noqa: E402
from geofootprint.learning.networks import PatchGAN, UNet, UNet256, build_generator  # noqa: E402
from geofootprint.learning.networks.padding import pad_to_multiple  # noqa: E402

SMALL: list[tuple[str, dict[str, Any]]] = [
    ("unet", {"width": 4, "stride": 1}),
    ("unet", {"width": 4, "stride": 2}),
    ("unet", {"width": 4, "norm": "channel", "upsampling": "transposed"}),
    ("unet", {"width": 4, "norm": "none"}),
    ("unet256", {"width": 4}),
]


def count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def small(name: str, options: dict[str, Any], *, bands: int = 3) -> Any:
    torch.manual_seed(0)
    return build_generator(GeneratorConfig(name, **options), bands, 2).eval()


def on_meta(kind: Any, *arguments: int, **options: Any) -> nn.Module:
    with torch.device("meta"):
        network: nn.Module = kind(*arguments, **options)
    return network


def test_parameters_of_the_paper() -> None:
    assert count(on_meta(UNet256, 3, 3)) == pytest.approx(54.41e6, abs=0.005e6)
    assert count(on_meta(PatchGAN, 6)) == pytest.approx(2.77e6, abs=0.005e6)


def test_discriminator_gives_30_by_30() -> None:
    judge = on_meta(PatchGAN, 6)
    image = torch.empty(1, 3, 256, 256, device="meta")
    assert judge(image, image).shape == (1, 1, 30, 30)


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_discriminator_sees_70_pixels(spectral_norm: bool) -> None:
    torch.manual_seed(0)
    judge = PatchGAN(4, width=4, spectral_norm=spectral_norm).eval()
    image = torch.randn(1, 3, 256, 256, requires_grad=True)
    judge(image, torch.randn(1, 1, 256, 256))[0, 0, 15, 15].backward()
    seen = image.grad.abs().sum(dim=(0, 1)) > 0
    rows, columns = torch.nonzero(seen.any(dim=1)).flatten(), torch.nonzero(seen.any(dim=0)).flatten()
    assert (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1) == (70, 70)


def test_spectral_norm_bounds_the_gain() -> None:
    torch.manual_seed(0)
    judge = PatchGAN(5, width=8, spectral_norm=True)
    for _ in range(20):
        judge(torch.randn(1, 3, 64, 64), torch.randn(1, 2, 64, 64))
    gains = [
        torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in judge.layers if isinstance(layer, nn.Conv2d)
    ]
    assert gains[:-1] == pytest.approx([1.0] * 4, abs=0.05)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in judge.layers)


@pytest.mark.parametrize(("name", "options"), SMALL)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 5), (64, 64), (100, 37)])
def test_any_size_in_is_the_size_out(name: str, options: dict[str, int], size: tuple[int, int]) -> None:
    logits = small(name, options)(torch.rand(1, 3, *size))
    assert logits.shape == (1, 2, *size)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("bands", [1, 4, 5])
def test_any_number_of_bands(bands: int) -> None:
    for name, options in SMALL:
        assert small(name, options, bands=bands)(torch.rand(1, bands, 64, 64)).shape == (1, 2, 64, 64)


def test_output_does_not_depend_on_the_window() -> None:
    torch.manual_seed(0)
    network = UNet(3, 2, width=4, levels=3, stride=2).eval()
    for name, statistic in network.named_buffers():
        if name.endswith("running_mean"):
            statistic.uniform_(-0.1, 0.1)
        elif name.endswith("running_var"):
            statistic.uniform_(0.05, 0.2)
    image = torch.rand(1, 3, 256, 256)
    image[..., :40, :40] = 1.0  # statistics of the window differ from those of the whole
    with torch.inference_mode():
        whole, window = network(image), network(image[..., 32:224, 48:240])
    inside = slice(64, -64)
    assert torch.allclose(whole[..., 32:224, 48:240][..., inside, inside], window[..., inside, inside], atol=1e-6)
    assert not torch.allclose(whole[..., 32:224, 48:240], window, atol=1e-6)  # but at its edges


def test_dropout_is_of_training_alone() -> None:
    network = small("unet256", {"width": 4})
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(image), network(image))
        network.train()
        assert not torch.equal(network(image), network(image))


def test_unet256_is_the_papers_tanh() -> None:
    network = small("unet256", {"width": 2})
    with torch.no_grad():
        logits = network(torch.rand(1, 3, 256, 256))
        before: list[Any] = []
        network.decoder[-1].register_forward_hook(lambda *given: before.append(given[2]))
        network(torch.zeros(1, 3, 256, 256))
    assert torch.allclose(2 * torch.sigmoid(logits) - 1, torch.tanh(logits / 2), atol=1e-6)
    assert torch.equal(network(torch.zeros(1, 3, 256, 256)), 2 * before[0])


def test_padding_repeats_the_edge() -> None:
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 1, 4, 4)
    assert padded[0, 0, :, 3].tolist() == [2, 5, 5, 5]
    assert torch.equal(pad_to_multiple(padded, 4), padded)


def test_smp_generator() -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="needs geofootprint[train]")
    network = small("smp:unet:resnet18", {}, bands=4)
    assert count(network) == pytest.approx(14.33e6, abs=0.01e6)
    assert network.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406, 0.449])
    with torch.inference_mode():
        assert network(torch.rand(1, 4, 33, 50)).shape == (1, 2, 33, 50)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unet512", "no generator 'unet512'; use unet, unet256 or smp:ARCHITECTURE:ENCODER"),
        ("smp:unet", "'smp:unet' is incomplete"),
        ("smp:nonet:resnet18", "cannot build 'smp:nonet:resnet18'"),
        ("smp:unet:resnet19", "cannot build 'smp:unet:resnet19'"),
    ],
)
def test_unknown_generators(name: str, message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        build_generator(GeneratorConfig(name), 3, 2)
    assert "\n" not in str(caught.value)


def test_gain_of_random_weights_is_moderate() -> None:
    # Logits of random weights must not be so large that their probabilities are 0 or 1.
    for name, options in SMALL:
        logits = small(name, options)(torch.rand(1, 3, 64, 64))
        assert logits.abs().max() < math.log(1e6)
