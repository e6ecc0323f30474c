"""Known names: every row says where it comes from, and timm knows it."""

import pytest
import timm

from bob_gauntlet.backbones.zoo import ZOO, ZooEntry, search


@pytest.mark.parametrize("entry", ZOO.values(), ids=ZOO.keys())
def test_every_row_has_its_provenance(entry: ZooEntry) -> None:
    """Method, data and licence are stated, and timm has the architecture with that tag."""
    assert all((entry.method, entry.data, entry.licence, entry.family))
    assert timm.is_model(entry.architecture)
    config = timm.models.get_pretrained_cfg(entry.architecture)
    assert entry.package or (config is not None and config.has_weights)


def test_search_takes_a_pattern_or_plain_text() -> None:
    """By name, method or data, in any case."""
    assert [entry.name for entry in search("efficientnet_lite?")] == [f"efficientnet_lite{i}" for i in range(3)]
    assert {entry.method for entry in search("dino")} == {"DINO"}
    assert {entry.data for entry in search("LAION*")} == {"LAION-2B"}
    assert search("no such thing") == []
    assert len(search()) == len(ZOO)
