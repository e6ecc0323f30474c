"""Tests of backbone identities: an identity is stored, and computed again only where it may have changed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bob_gauntlet.backbones import loading
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.loading import identify, load, memoisable
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.config import UserConfig
from bob_gauntlet.runtime.artifacts import Artifacts


def spec(text: str) -> BackboneSpec:
    """Return the spec that `--backbone` resolves the text to."""
    return resolve(text, UserConfig(Path("/")))


def state(seed: int) -> dict[str, torch.Tensor]:
    """Return the tensors of a random test_vit."""
    return dict(load(spec(f"random:test_vit,seed={seed}")).module.state_dict())


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Checkpoint of timm's test_vit."""
    save_file(state(5), tmp_path / "vit.safetensors")
    return tmp_path / "vit.safetensors"


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SPECs that were loaded since the test began."""
    texts: list[str] = []

    def record_load(spec: BackboneSpec) -> Backbone:
        texts.append(spec.text)
        return load(spec)

    monkeypatch.setattr(loading, "load", record_load)
    return texts


def test_an_identity_is_computed_once(weights: Path, tmp_path: Path, loaded: list[str]) -> None:
    """The second call loads nothing, and other bytes in the file lead to another identity."""
    artifacts = Artifacts(tmp_path / "artifacts")
    text = f"timm:test_vit@{weights}"
    assert identify(spec(text), artifacts) == identify(spec(text), artifacts) == load(spec(text)).identity
    assert loaded == [text]
    save_file(state(6), weights)
    assert identify(spec(text), artifacts).fingerprint == load(spec("random:test_vit,seed=6")).identity.fingerprint


@pytest.mark.parametrize("change", ["random:test_vit,seed=6", "random:test_vit,depth=2", "random:test_vit2", "size"])
def test_an_identity_belongs_to_one_spec(tmp_path: Path, change: str) -> None:
    """A SPEC that differs in anything but its name has another identity."""
    artifacts = Artifacts(tmp_path / "artifacts")
    first = identify(spec("random:test_vit"), artifacts)
    config = UserConfig(Path("/"), "bob.toml", {"mine": {"spec": "random:test_vit", "size": 32}})
    other = resolve("mine", config) if change == "size" else spec(change)
    assert identify(other, artifacts) == load(other).identity != first


@pytest.mark.parametrize("changed", ["ADAPTER_VERSION", "TRAITS_VERSION"])
def test_an_identity_of_an_earlier_version_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: list[str], changed: str
) -> None:
    """An identity that an earlier version stored, with other traits or another transform, is not read."""
    artifacts = Artifacts(tmp_path / "artifacts")
    identify(spec("random:test_vit"), artifacts)
    monkeypatch.setattr(loading, changed, 99)
    identify(spec("random:test_vit"), artifacts)
    assert len(loaded) == 2


def test_an_identity_for_another_wanted_size_is_another(tmp_path: Path) -> None:
    """A network of one size is built for 96 px at mini scale, and for its own size at paper scale."""
    artifacts = Artifacts(tmp_path / "artifacts")
    fixed = spec("random:test_vit,dynamic_img_size=False")
    sizes = [identify(replace(fixed, wanted_size=size), artifacts).transform.size for size in (96, None, 96)]
    assert sizes == [96, 160, 96]


def test_hubs_and_factories_are_loaded_each_time(weights: Path) -> None:
    """A hub may serve other weights tomorrow and a factory may do anything, so that neither is memoisable."""
    assert memoisable(spec("random:test_vit"))
    assert memoisable(spec(f"timm:test_vit@{weights}"))
    assert not memoisable(spec("timm:resnet18"))
    assert not memoisable(spec("mine:build"))
