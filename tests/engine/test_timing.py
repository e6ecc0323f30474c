"""Medians, FLOPs of known layers, memory of a known allocation, seconds of calls that take turns."""

import contextlib
import sys
import time
from collections.abc import Callable
from itertools import repeat

import numpy as np
import pytest
import torch
from torch import nn

from bob_gauntlet.engine import timing
from tests.helpers.fake_machine import FakeMachine
from tests.helpers.synthetic_images import backbone


# by hand: median of the sorted list; quartiles as statistics.quantiles defines them, at (n + 1) / 4 and 3 (n + 1) / 4
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2.0], (2.0, 0.0)),
        ([5.0, 1.0, 3.0, 2.0, 4.0], (3.0, 1.5)),  # quartiles 1.5 and 4.5
        ([1.0, 1.0, 1.0, 1.0], (1.0, 0.0)),
        ([7.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (4.0, 2.0)),  # quartiles 2 and 6
    ],
)
def test_median_and_half_the_distance_of_the_quartiles(values: list[float], expected: tuple[float, float]) -> None:
    """The values are those computed by hand, in any order of the list."""
    assert timing.median_and_spread(values) == expected


def test_one_slow_repeat_does_not_change_the_median() -> None:
    """One value of 99 instead of 1.6 leaves the median as it is."""
    calm = timing.median_and_spread([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6])
    assert timing.median_and_spread([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 99.0])[0] == calm[0]


# 2 for a multiply-accumulate: 2 x 7 x 5 for a linear layer of 7 to 5; 2 x (3 x 3 x 3) x 4 x 8 x 8 for a 3 x 3
# convolution of 3 to 4 channels that keeps 8 x 8 pixels
@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (1, 3, 2, 2), 2 * 12 * 5),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (4, 3, 2, 2), 4 * 2 * 12 * 5),
        (nn.Conv2d(3, 4, 3, padding=1), (1, 3, 8, 8), 2 * 27 * 4 * 64),
        (nn.Conv2d(3, 6, 3, padding=1, groups=3), (1, 3, 8, 8), 2 * 9 * 6 * 64),
    ],
    ids=["linear", "linear, 4 images", "convolution", "grouped convolution"],
)
def test_flops_of_known_layers(module: nn.Module, shape: tuple[int, ...], expected: int) -> None:
    """A multiply-accumulate counts as 2, also inside inference_mode, in which recipes call the function."""
    network = backbone(module)
    assert timing.flops(network, torch.rand(shape)) == expected
    with torch.inference_mode():
        assert timing.flops(network, torch.rand(shape)) == expected


def test_flops_of_attention_are_counted() -> None:
    """Both products of attention (10 tokens, 8 channels, 2 heads) count; a fused kernel would hide them."""

    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q = x.reshape(1, 2, 10, 8)
            return nn.functional.scaled_dot_product_attention(q, q, q).reshape(1, -1)

    # attention scores, and their product with the values: 2 products x 2 heads x 10 x 10 x 8 multiply-accumulates
    assert timing.flops(backbone(Attention()), torch.rand(1, 160, 1, 1)) == 2 * 2 * 2 * 10 * 10 * 8


def test_calls_take_turns_and_warm_up_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round has every call in order, after its untimed calls; only the rounds after the warm-up are returned."""
    machine = FakeMachine(loads=iter([9.0, 1.0, 2.0, 3.0]), shares=repeat(0.5))
    machine.install(monkeypatch)
    order: list[str] = []

    def call(name: str, seconds: float) -> Callable[[], None]:
        return lambda: (order.append(name), machine.work(seconds))[1]

    calls = {"a": call("a", 2.0), "b": call("b", 0.5)}
    rounds = timing.take_turns(calls, "cpu", warmup=1, repeats=3, untimed=1)
    assert order == ["a", "a", "b", "b"] * 4
    assert rounds.wall == {"a": [4.0] * 3, "b": [1.0] * 3}
    assert rounds.processor == rounds.own_time("cpu") == {"a": [2.0] * 3, "b": [0.5] * 3}
    assert rounds.own_time("cuda:0") == rounds.wall
    assert rounds.loads == [1.0, 2.0, 3.0]


def test_real_calls_are_timed_by_a_real_clock() -> None:
    """A call that sleeps takes wall time and no processor time; the kernels take both."""
    calls = {**timing.calibration_kernels("cpu"), "nap": lambda: time.sleep(0.02)}
    rounds = timing.take_turns(calls, "cpu", warmup=1, repeats=2)
    assert min(rounds.wall["nap"]) >= 0.02 > max(rounds.processor["nap"])
    assert min(rounds.processor["matrix_product"]) > 0
    assert all(load >= 0 for load in rounds.loads)


def test_quietness_is_the_worst_of_the_series_and_the_sum_of_the_rounds() -> None:
    """The spread is the largest, the load the mean over all rounds, the share processor time over wall x threads."""
    wall = {"matrix_product": [0.001, 0.003], "memory_pass": [0.004, 0.004]}
    busy, waiting = ({name: [share * t for t in times] for name, times in wall.items()} for share in (1.5, 0.5))
    rounds = [timing.Rounds(2, wall, busy, loads=[1.0, 2.0]), timing.Rounds(2, wall, waiting, loads=[6.0])]
    record = timing.describe_quietness(rounds, [[1.0, 1.0, 1.0], [5.0, 1.0, 3.0, 2.0, 4.0]], "cpu")
    assert (record["spread"], record["load"], record["repeats"], record["threads"]) == (0.5, 3.0, 8, 2)
    assert record["cpu_share"] == pytest.approx(0.5)
    assert record["matrix_product"] == {"quickest_ms": 1.0, "median_ms": pytest.approx(2.0)}
    assert timing.describe_quietness(rounds, [[1.0, 1.0]], "cuda:0")["cpu_share"] is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_sees_what_a_call_touches_and_frees() -> None:
    """A call that allocates and frees 96 MiB needs about 96 MiB, and one that does nothing almost none."""
    assert timing.peak_memory(lambda: None, "cpu") < 5
    assert 90 < timing.peak_memory(lambda: np.ones(96 * 2**17).sum(), "cpu") < 110  # 8 bytes each


def test_threads_are_those_asked_for_inside_the_block_alone() -> None:
    """After the block the number of threads is as before it, also where the block raises."""
    before = torch.get_num_threads()
    with contextlib.suppress(ZeroDivisionError), timing.use_threads(before + 1, "cpu"):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before
