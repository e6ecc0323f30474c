"""Tests of input transforms and of backbone identities, which are stored as JSON."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bob_gauntlet.backbones.spec import BackboneIdentity, InputTransform, Traits

THREE = st.tuples(*[st.floats(0.01, 1)] * 3)
TRANSFORMS = st.builds(
    InputTransform,
    size=st.integers(1, 1024),
    mean=THREE,
    std=THREE,
    interpolation=st.sampled_from(["bilinear", "bicubic", "nearest", "lanczos"]),
    crop_pct=st.floats(0.1, 1),
)
TRAITS = st.builds(
    Traits,
    family=st.sampled_from(["conv", "transformer", "hybrid", "mixer"]),
    pretrained=st.booleans(),
    features=st.integers(0, 4096),
    params=st.floats(0, 1e4),
    strides=st.lists(st.integers(1, 64), max_size=5).map(tuple),
    any_size=st.booleans(),
    size_multiple=st.integers(1, 64),
    min_size=st.integers(1, 384),
)


@settings(deadline=None)
@given(transform=TRANSFORMS, traits=TRAITS, name=st.text())
def test_an_identity_survives_json(transform: InputTransform, traits: Traits, name: str) -> None:
    """An identity that is written as JSON and read again is equal, tuples included."""
    identity = BackboneIdentity(fingerprint="f" * 16, transform=transform, traits=traits, details={"checkpoint": name})
    assert BackboneIdentity.from_dict(json.loads(json.dumps(identity.to_dict()))) == identity


@pytest.mark.parametrize(
    "other",
    [
        InputTransform(size=225),
        InputTransform(size=224, crop_pct=0.9),
        InputTransform(size=224, interpolation="bilinear"),
        InputTransform(size=224, mean=(0.5, 0.456, 0.406)),
        InputTransform(size=224, std=(0.5, 0.224, 0.225)),
    ],
)
def test_every_field_of_a_transform_is_in_its_canonical_line(other: InputTransform) -> None:
    """Transforms that differ in any field have different canonical lines, and share no cache entry."""
    assert other.canonical != InputTransform(size=224).canonical


# (any size, multiple, requested size) -> size: 100 / 16 = 6.25 and 104 / 16 = 6.5, which Python rounds to even
@pytest.mark.parametrize(
    ("any_size", "multiple", "requested", "size"),
    [
        (True, 1, 96, 96),
        (True, 16, 100, 96),
        (True, 16, 104, 96),
        (True, 14, 96, 98),
        (True, 32, 8, 32),
        (True, 16, None, 224),
        (False, 16, 96, 224),
    ],
)
def test_a_size_is_one_that_the_network_takes(any_size: bool, multiple: int, requested: int | None, size: int) -> None:
    """A size is rounded to whole patches, but at least one; a network of one size keeps its size."""
    traits = Traits(
        family="transformer", pretrained=True, features=1, params=1, any_size=any_size, size_multiple=multiple
    )
    identity = BackboneIdentity(fingerprint="f", transform=InputTransform(size=224), traits=traits)
    assert identity.input_transform(requested).size == size


# (smallest, multiple, requested) -> size: 75 in whole patches of 16 are 80
@pytest.mark.parametrize(
    ("smallest", "multiple", "requested", "size"),
    [(1, 1, 64, 64), (75, 1, 64, 75), (75, 16, 64, 80), (128, 32, 96, 128), (96, 1, 96, 96), (128, 1, None, 224)],
)
def test_a_size_is_not_below_the_smallest(smallest: int, multiple: int, requested: int | None, size: int) -> None:
    """A network that takes nothing below some size is measured at that size, in whole patches."""
    traits = Traits(family="conv", pretrained=True, features=1, params=1, size_multiple=multiple, min_size=smallest)
    identity = BackboneIdentity(fingerprint="f", transform=InputTransform(size=224), traits=traits)
    assert identity.input_transform(requested).size == size


@given(traits=TRAITS, requested=st.sampled_from([64, 96]))
def test_a_network_is_called_ranked_apart_where_it_is(traits: Traits, requested: int) -> None:
    """The warning of a session agrees with `difference` of scores: inputs more than a tenth larger are apart."""
    identity = BackboneIdentity(fingerprint="f", transform=InputTransform(size=224), traits=traits)
    is_apart = any(identity.input_transform(size).size > 1.1 * size for size in (64, 96))
    assert bool(identity.list_warnings("mini")) == is_apart
    assert identity.list_warnings("paper") == []
