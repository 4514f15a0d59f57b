from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from torch import nn  # noqa: E402

from geofootprint.config import GeneratorConfig  # noqa: E402
from geofootprint.errors import GeofootprintError, OptionError  # noqa: E402
from geofootprint.learning.networks import PatchGAN, UNet, UNet256, build_generator, load_pretrained, window_statistics  # noqa: E402
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


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    """Return a small encoder for three bands, as another program may have trained it."""
    smp = pytest.importorskip("segmentation_models_pytorch", reason="needs geofootprint[train]")
    torch.manual_seed(1)
    made: nn.Module = smp.encoders.get_encoder("mobilenet_v2", weights=None)
    return made


def write_weights(encoder: nn.Module, path: Path) -> Path:
    values = encoder.state_dict()
    if path.suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(values, path)
    elif path.stem == "network":
        torch.save({"state_dict": {f"encoder.{name}": value for name, value in values.items()}}, path)
    else:
        torch.save(values, path)
    return path


@pytest.mark.parametrize("file", ["weights.pth", "network.pt", "weights.safetensors"])
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_encoder_weights_of_a_file_for_any_bands(encoder: nn.Module, tmp_path: Path, file: str, bands: int) -> None:
    path = write_weights(encoder, tmp_path / file)
    settings = GeneratorConfig("smp:unet:mobilenet_v2", encoder_weights=str(path))
    generator = build_generator(settings, bands, 2)
    load_pretrained(generator, settings, bands)
    ours: Any = generator.network.encoder  # type: ignore[union-attr]
    theirs: Any = encoder
    first = theirs.features[0][0].weight
    loaded = ours.features[0][0].weight
    if bands == 1:
        assert torch.allclose(loaded, first.sum(1, keepdim=True))
    else:
        assert torch.allclose(loaded, first[:, [0, 1, 2, 0, 1][:bands]] * 3 / bands)
    assert torch.equal(ours.features[9].conv[0][0].weight, theirs.features[9].conv[0][0].weight)


def test_encoder_weights_that_cannot_be_used(encoder: nn.Module, tmp_path: Path) -> None:
    good = write_weights(encoder, tmp_path / "weights.pth")
    (tmp_path / "damaged.pth").write_bytes(good.read_bytes()[:1000])
    (tmp_path / "damaged.safetensors").write_bytes(b"12345678" * 10)
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": encoder}, tmp_path / "code.pth")
    for name, file, message in (
        ("smp:unet:mobilenet_v2", "none.pth", r"none\.pth does not exist; check generator\.encoder_weights"),
        ("smp:unet:mobilenet_v2", "damaged.pth", "damaged.pth holds no weights, is damaged"),
        ("smp:unet:mobilenet_v2", "damaged.safetensors", "damaged.safetensors holds no weights, is damaged"),
        ("smp:unet:mobilenet_v2", "list.pth", "list.pth holds something else than weights"),
        ("smp:unet:mobilenet_v2", "code.pth", "code.pth holds no weights, is damaged, or would run code"),
        ("smp:unet:resnet18", "weights.pth", "does not hold the weights of the encoder of 'smp:unet:resnet18'"),
        ("unet", "weights.pth", "encoder_weights are for smp:ARCHITECTURE:ENCODER, not for 'unet'"),
    ):
        settings = GeneratorConfig(name, width=4, encoder_weights=str(tmp_path / file))
        with pytest.raises(GeofootprintError, match=message) as caught:
            load_pretrained(build_generator(settings, 3, 2), settings, 3)
        assert "\n" not in str(caught.value)


def test_encoder_weights_by_name(monkeypatch: pytest.MonkeyPatch, encoder: nn.Module, tmp_path: Path) -> None:
    hub = pytest.importorskip("segmentation_models_pytorch", reason="needs geofootprint[train]").encoders
    path = write_weights(encoder, tmp_path / "model.safetensors")
    asked: list[str] = []

    def download(repository: str, *, filename: str, revision: str) -> str:
        asked.append(repository)
        return str(path)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    settings = GeneratorConfig("smp:fpn:mobilenet_v2", encoder_weights="imagenet")
    generator = build_generator(settings, 4, 2)
    assert asked == []  # a checkpoint has its own weights
    load_pretrained(generator, settings, 4)
    assert set(asked) == {"smp-hub/mobilenet_v2.imagenet"}
    ours, theirs = generator.state_dict(), encoder.state_dict()
    assert torch.equal(ours["network.encoder.features.3.conv.0.0.weight"], theirs["features.3.conv.0.0.weight"])
    with pytest.raises(OptionError, match="Wrong pretrained weights `imagenot`"):
        load_pretrained(generator, GeneratorConfig("smp:fpn:mobilenet_v2", encoder_weights="imagenot"), 4)

    def fail(*_: object, **__: object) -> str:
        raise FileNotFoundError("no network\nand more")

    monkeypatch.setattr(hub, "hf_hub_download", fail)
    with pytest.raises(OptionError, match=r"cannot be downloaded \(no network\); download them elsewhere and give"):
        load_pretrained(generator, settings, 4)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("unet:mobilenet_v2", ()),
        ("linknet:resnet18", ()),
        ("segformer:mobilenet_v2", ()),
        ("fpn:mobilenet_v2", ("group normalisation",)),
        ("deeplabv3plus:mobilenet_v2", ("global pooling",)),
        ("pan:mobilenet_v2", ("global pooling",)),
        ("segformer:mit_b0", ("attention",)),
        ("unet:efficientnet-b0", ("global pooling",)),
    ],
)
def test_any_size_and_the_statistics_of_the_window(name: str, found: tuple[str, ...]) -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="needs geofootprint[train]")
    network = small(f"smp:{name}", {})
    assert window_statistics(network, 3) == found
    with torch.inference_mode():
        for size in ((1, 1), (37, 70)):
            logits = network(torch.rand(1, 3, *size))
            assert logits.shape == (1, 2, *size)
            assert torch.isfinite(logits).all()


def test_own_generators_use_no_statistics_of_the_window() -> None:
    for name, options in SMALL:
        network = small(name, options).train()
        assert window_statistics(network, 3) == ()
        assert network.training
