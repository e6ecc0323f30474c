"""benchmarks/pretrain.py: its table of networks, and that bob's loader loads what it writes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import pretrain
from benchmarks.pretraining.networks import NETWORKS, NetworkConfig, backbone_spec
from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.config import UserConfig


def test_the_table_has_several_families_and_methods() -> None:
    """There are at least 7 networks of 4 families, each family with and without labels, with unique names."""
    names = [network.name for network in NETWORKS]
    assert len(names) == len(set(names)) >= 7
    families = {network.family for network in NETWORKS}
    assert len(families) >= 4
    for family in families:
        methods = {network.method for network in NETWORKS if network.family == family}
        assert len(methods) >= 2
        assert "supervised" in methods


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[NetworkConfig, Path]:
    """A network after two steps, and the folder that it was written to."""
    from benchmarks.pretraining.pool import build_pool

    network = replace(NETWORKS[0], steps=2, batch=8)
    folder = tmp_path_factory.mktemp("pretrained")
    pretrain.pretrain(network, folder, build_pool(crops=2, glyphs=1))
    return network, folder


def test_a_written_network_loads_through_bobs_loader(written: tuple[NetworkConfig, Path]) -> None:
    """The SPEC loads, and the features are finite and differ from those of the untrained network."""
    network, folder = written
    config = UserConfig(Path())
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        trained = load(resolve(backbone_spec(network.name, folder), config), "cpu").embed(images)
        random = load(resolve(f"random:{network.architecture}", config), "cpu").embed(images)
    assert trained.shape == (2, 256)  # the last of the architecture's channels
    assert torch.isfinite(trained).all()
    assert not torch.allclose(trained, random)


def test_a_written_network_is_done_until_its_recipe_or_file_changes(written: tuple[NetworkConfig, Path]) -> None:
    """A network is trained again if its recipe or the digest of its weights changes."""
    network, folder = written
    assert pretrain.is_done(network, folder)
    assert not pretrain.is_done(replace(network, seed=1), folder)
    recipe = json.loads((folder / f"{network.name}.json").read_text())
    assert recipe["arguments"] == {"stem_width": 16, "channels": [32, 64, 128, 256]}
    checkpoint = folder / f"{network.name}.safetensors"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-1])
    assert not pretrain.is_done(network, folder)
    checkpoint.write_bytes(whole)


def test_the_same_seed_gives_the_same_weights(written: tuple[NetworkConfig, Path], tmp_path: Path) -> None:
    """Two trainings with one recipe give bitwise equal weights."""
    from benchmarks.pretraining.pool import build_pool

    network, folder = written
    again = pretrain.pretrain(network, tmp_path, build_pool(crops=2, glyphs=1))
    assert again["sha256"] == json.loads((folder / f"{network.name}.json").read_text())["sha256"]
