"""Ratios to the reference and the judgement of the machine, on a machine whose clock is simulated."""

from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest
import torch

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.engine import timing
from bob_gauntlet.protocols import efficiency
from bob_gauntlet.protocols.efficiency import Efficiency
from bob_gauntlet.protocols.recipe import Measured
from bob_gauntlet.runtime import devices
from bob_gauntlet.scores.quietness import signs_of_noise
from tests.helpers.contexts import context_in
from tests.helpers.fake_machine import FakeMachine, every
from tests.helpers.synthetic_splits import pixel_backbone

RECIPE = Efficiency(batches=(1, 4), warmup=1, repeats=12, ratio_batch=4)
NOISE = Dataset("noise", {}, ())
Run = Callable[..., dict[str, Measured]]


class Network:
    """A network on a fake machine: some seconds for each forward pass, and some for each image."""

    def __init__(self, machine: FakeMachine, call: float, image: float) -> None:
        self.machine, self.call, self.image = machine, call, image

    def embed(self, images: torch.Tensor) -> None:
        """Work as long as a forward pass of the images takes."""
        self.machine.work(self.call + self.image * len(images))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs the recipe on a machine: 10 ms of the reference for an image, 6 ms of the backbone."""

    def measure(machine: FakeMachine, **config: int) -> dict[str, Measured]:
        machine.install(monkeypatch)
        monkeypatch.setattr(timing, "flops", lambda backbone, images: 2e9)
        monkeypatch.setattr(timing, "peak_memory", lambda call, device: 64.0)
        monkeypatch.setattr(efficiency, "load", lambda spec, device: Network(machine, 0.002, 0.008))
        backbone = pixel_backbone()
        monkeypatch.setattr(backbone, "embed", Network(machine, 0.004, 0.002).embed)
        return {m.metric: m for m in RECIPE.evaluate(backbone, NOISE, context_in(tmp_path, **config))}

    return measure


def signs(measured: dict[str, Measured]) -> list[str]:
    """Return the signs of noise of the ratios, which share one record."""
    assert measured["latency_ratio"].details["timing"] == measured["batch_ratio"].details["timing"]
    return signs_of_noise(measured["latency_ratio"].details["timing"])


def test_ratios_are_times_over_the_references(run: Run) -> None:
    """One image: 6 / 10 ms; four images: (4 + 8) / (2 + 32) ms. Latency and rates are those of the clock."""
    measured = run(FakeMachine())
    assert measured["latency_ratio"].value == pytest.approx(0.6)
    assert measured["batch_ratio"].value == pytest.approx(12 / 34)
    assert measured["latency"].value == pytest.approx(6)
    assert measured["throughput"].value == pytest.approx(4 / 0.012)
    details = measured["batch_ratio"].details
    assert (details["reference"], details["batch"], details["attempts"]) == ("resnet18 with random weights", 4, 1)
    assert (details["reference_ms"], details["backbone_ms"]) == (pytest.approx(34), pytest.approx(12))
    record = details["timing"]
    assert record["spread"] == pytest.approx(0)
    assert record["matrix_product"] == {"quickest_ms": pytest.approx(1), "median_ms": pytest.approx(1)}
    assert (record["load"], record["cores"], record["threads"], record["cpu_share"]) == (1, 2, 1, pytest.approx(1))
    assert record["repeats"] == 24
    assert signs(measured) == []


@pytest.mark.parametrize("speed", [0.25, 3.0])
def test_ratios_do_not_know_how_fast_the_machine_is(run: Run, speed: float) -> None:
    """A machine that is slower or faster throughout has other latencies and the same ratios."""
    measured = run(FakeMachine(speed=speed))
    assert measured["latency_ratio"].value == pytest.approx(0.6)
    assert measured["batch_ratio"].value == pytest.approx(12 / 34)
    assert measured["latency"].value == pytest.approx(6 / speed)
    assert signs(measured) == []


def drifting() -> Iterator[float]:
    """Return a slowness that doubles in the middle of the timing of one image, and stays so."""
    return chain(repeat(1.0, 150), repeat(2.0))


def test_a_machine_that_slows_down_midway_keeps_its_ratios(run: Run) -> None:
    """The calls of a round are slow together, so that the ratio stays; the kernels show the change."""
    measured = run(FakeMachine(slowness=drifting()))
    assert measured["latency_ratio"].value == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("machine", "sign"),
    [
        (lambda: FakeMachine(slowness=every(3, 2.5)), "spread of repeats"),
        (lambda: FakeMachine(loads=repeat(3.25)), "load 3.2 on 2 cores"),
        (lambda: FakeMachine(shares=repeat(0.6)), "60% of a core's time"),
    ],
    ids=["bursts", "load", "shared core"],
)
def test_a_busy_machine_is_told(run: Run, machine: Callable[[], FakeMachine], sign: str) -> None:
    """Each kind of disturbance is among the signs, after all attempts; the values are kept."""
    measured = run(machine())
    assert any(text.startswith(sign) for text in signs(measured)), signs(measured)
    assert measured["latency_ratio"].details["attempts"] == 3
    assert measured["latency_ratio"].value > 0


def test_time_slices_of_other_processes_are_not_in_the_ratios(run: Run) -> None:
    """Where others take most of the core in every third call, the ratios stay, and the share of the core tells it."""
    measured = run(FakeMachine(shares=every(3, 0.2)))
    assert measured["latency_ratio"].value == pytest.approx(0.6)
    assert measured["batch_ratio"].value == pytest.approx(12 / 34)
    assert [text[2:] for text in signs(measured)] == ["% of a core's time"]


def test_slow_kernels_are_told(run: Run) -> None:
    """Where the quickest matrix product was twice as fast as its median, something else ran most of the time."""
    machine = FakeMachine()

    def slowness() -> Iterator[float]:
        while True:
            yield 1.0 if machine.wall % 1 < 0.2 else 2.1

    machine.slowness = slowness()
    assert "the fixed matrix product took 2.1 times its quickest" in signs(run(machine))


def test_a_burst_is_measured_again(run: Run) -> None:
    """A disturbance that ends is over at the second attempt, and the ratios of that attempt are returned."""
    # 21 rounds of latency and throughput, then 26 of each attempt at the ratios
    measured = run(FakeMachine(loads=chain(repeat(5.0, 40), repeat(1.0))))
    assert measured["latency_ratio"].details["attempts"] == 2
    assert signs(measured) == []


@pytest.mark.parametrize("cut", [{"limit": 8}, {"max_steps": 2}], ids=["limit", "steps"])
def test_a_run_that_is_cut_short_is_not_repeated(run: Run, cut: dict[str, int]) -> None:
    """Its scores are never ranked, so that one attempt is enough on a busy machine."""
    assert run(FakeMachine(loads=repeat(9.0)), **cut)["latency_ratio"].details["attempts"] == 1


def test_ratios_are_measured_on_one_thread(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency has every core, and the ratios one; afterwards the number is as before."""
    before = torch.get_num_threads()
    monkeypatch.setattr(devices, "cores", lambda: before + 1)
    measured = run(FakeMachine())
    assert measured["latency"].details["timing"]["threads"] == before + 1
    assert measured["latency_ratio"].details["timing"]["threads"] == measured["latency_ratio"].details["threads"] == 1
    assert torch.get_num_threads() == before


def test_the_reference_is_a_network_with_seeded_weights() -> None:
    """It is built without a download, is the same every time, and takes any input size."""
    recipe = Efficiency(reference="test_resnet")
    first, second = (recipe._build_reference("cpu") for _ in range(2))
    images = torch.rand(2, 3, 48, 48)
    assert torch.equal(first.embed(images), second.embed(images))
    assert first.spec.scheme == "random"
