from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from geofootprint.config import PRESETS, LossConfig, TrainConfig, from_dict, load_config, to_dict, to_toml
from geofootprint.errors import GeofootprintError, InputError, MissingFileError, OptionError


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_and_survive_toml(preset: str, tmp_path: Path) -> None:
    config = load_config(preset)
    assert config.preset == preset
    assert load_config(None, written(tmp_path, to_toml(config))) == config
    assert from_dict(to_dict(config)) == config


def test_default_preset_is_footprint() -> None:
    assert load_config() == TrainConfig() == PRESETS["footprint"]


def test_pix2pix_is_the_papers_recipe() -> None:
    config = load_config("pix2pix")
    assert config.generator.name == "unet256"
    assert (config.generator.width, config.discriminator.width) == (64, 64)
    assert not config.discriminator.pause
    assert config.loss == LossConfig(
        bce=0, dice=0, contour=0, touch=0, l1=100, adversarial=1, adversarial_start=0, adversarial_ramp=0
    )
    data = config.data
    assert (data.colour, data.shadow, data.blur, data.noise, data.jpeg) == (0, 0, 0, 0, 0)
    assert (config.data.batch, config.data.patch) == (1, 256)
    assert config.data.scale == (256 / 286, 256 / 286)
    assert not config.data.quarter_turns
    assert (config.optimizer.learning_rate, config.optimizer.beta1, config.optimizer.ema) == (2e-4, 0.5, 0)
    assert (config.optimizer.weight_decay, config.optimizer.clip) == (0, 0)
    assert config.epochs == 200


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    path = written(tmp_path, "epochs = 3\n[data]\nbatch = 2\nscale = [1, 2]\n[loss]\nl1 = 7\n")
    config = load_config("pix2pix", path)
    preset = PRESETS["pix2pix"]
    assert config == replace(
        preset, epochs=3, data=replace(preset.data, batch=2, scale=(1.0, 2.0)), loss=replace(preset.loss, l1=7.0)
    )
    assert isinstance(config.loss.l1, float)


def test_a_file_may_name_its_preset(tmp_path: Path) -> None:
    path = written(tmp_path, 'preset = "pix2pix"\n')
    assert load_config(None, path) == load_config("pix2pix", path) == PRESETS["pix2pix"]
    with pytest.raises(OptionError, match="is for the preset 'pix2pix', not 'footprint'"):
        load_config("footprint", path)


def test_texts_survive_toml(tmp_path: Path) -> None:
    config = replace(TrainConfig(), generator=replace(TrainConfig().generator, name='a "b" \\ ü'))
    assert load_config(None, written(tmp_path, to_toml(config))).generator == config.generator


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown key 'epoch'; did you mean 'epochs'?"),
        ("[loss]\nadversariel = 1.0", "unknown key 'loss.adversariel'; did you mean 'loss.adversarial'?"),
        ("[optimizer]\nxyz = 1", "unknown key 'optimizer.xyz'; known are learning_rate"),
        ("data = 3", "'data' in .* must be a table"),
        ("[data]\nbatch = 2.5", "'data.batch' in .* must be a whole number, not 2.5"),
        ("[data]\nbatch = true", "'data.batch' in .* must be a whole number"),
        ("[data]\nbatch = 0", "'data.batch' in .* must be from 1 to 4096, not 0"),
        ("[data]\npatch = 16", "'data.patch' in .* must be at least 32"),
        ("[data]\nscale = [1.0]", "'data.scale' in .* must be a list of 2 numbers"),
        ("[data]\nscale = [0.0, 1.0]", "'data.scale' in .* must be from 0.05 to 20, not 0"),
        ("[data]\nscale = [2.0, 1.0]", "'data.scale' in .* must be the finer and then the coarser"),
        ("[data]\nrotation = 1.5", "'data.rotation' in .* must be from 0 to 1"),
        ("[optimizer]\nlearning_rate = nan", "'optimizer.learning_rate' in .* must be at least 0, not nan"),
        ("[optimizer]\nschedule = 'cosin'", "'optimizer.schedule' in .* must be cosine or linear, not 'cosin'"),
        ("[generator]\nnorm = 'instance'", "'generator.norm' in .* must be batch or channel or none, not 'instance'"),
        ("[generator]\nupsampling = 'nearest'", "'generator.upsampling' in .* must be bilinear or transposed"),
        ("[data]\njpeg = 2", "'data.jpeg' in .* must be from 0 to 1"),
        ("[data]\ncontour = false\n[loss]\nbce = 0\ndice = 0\nl1 = 0", "begin with weights of 0"),
        ("[discriminator]\nspectral_norm = 1", "'discriminator.spectral_norm' in .* must be true or false"),
        ("[generator]\nname = 3", "'generator.name' in .* must be a text"),
        ("[loss]\nbce = 0\ndice = 0\ncontour = 0\nl1 = 0", "begin with weights of 0"),
        ("preset = 'fotprint'", "no preset 'fotprint'; use one of footprint, pix2pix"),
    ],
)
def test_wrong_settings_are_told_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        load_config(None, written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_one_that_is_no_toml(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.toml does not exist"):
        load_config(None, tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot be read as TOML"):
        load_config(None, written(tmp_path, "epochs == 3"))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as TOML"):
        load_config(None, binary)


def test_an_unknown_preset_is_the_users_to_mend() -> None:
    with pytest.raises(GeofootprintError, match="no preset 'x'"):
        load_config("x")


def test_a_run_without_label_losses_needs_its_discriminator_at_once() -> None:
    silent = {"bce": 0, "dice": 0, "contour": 0, "l1": 0}
    assert from_dict({"loss": {**silent, "adversarial_start": 0.0}}).loss.adversarial > 0
    with pytest.raises(OptionError, match="begin with weights of 0"):
        from_dict({"loss": silent})


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("epochs = 3\n", encoding="utf-8-sig")
    assert load_config(None, path).epochs == 3


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="is a folder; give a TOML file"):
        load_config(None, tmp_path)


def test_seeds_are_what_torch_takes(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"'seed' in .* must be from 0 to"):
        load_config(None, written(tmp_path, "seed = 99999999999999999999"))
