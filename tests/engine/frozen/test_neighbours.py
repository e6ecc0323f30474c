"""Neighbours' votes against a loop over every pair."""

import math

import numpy as np
import pytest
import torch

from bob_gauntlet.engine.frozen import neighbours
from bob_gauntlet.engine.frozen.neighbours import l2_normalise, votes
from bob_gauntlet.errors import NotFiniteError

KS = (1, 3, 10)


def problem(seed: int = 0, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return queries (30, 8), bank (50, 8) and classes of the bank (50,)."""
    rng = np.random.default_rng(seed)
    draw = rng.normal(size=(80, 8)).astype(np.float32)
    return draw[:30], draw[30:], rng.integers(0, classes, 50)


def cosine(a: list[float], b: list[float]) -> float:
    """Return the dot product divided by both lengths, in float64."""
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def slow_votes(queries: np.ndarray, bank: np.ndarray, labels: np.ndarray, k: int, temperature: float) -> np.ndarray:
    """Return (Q, C) votes: the k most similar of a sorted Python list vote exp(similarity / T) for their labels.

    The votes are relative to that of the nearest neighbour, which does not change the order of the classes.
    """
    summed = np.zeros((len(queries), labels.shape[1]))
    for row, query in zip(summed, queries.tolist(), strict=True):
        nearest = sorted(((cosine(query, other), i) for i, other in enumerate(bank.tolist())), reverse=True)[:k]
        for similarity, i in nearest:
            row += math.exp((similarity - nearest[0][0]) / temperature) * labels[i]
    return summed


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_votes_are_those_of_a_naive_loop(temperature: float) -> None:
    """For every k the votes are equal to those of a loop over sorted lists."""
    queries, bank, targets = problem()
    votes_by_k = votes(queries, bank, targets, 4, KS, temperature=temperature)
    assert set(votes_by_k) == set(KS)
    for k in KS:
        expected = slow_votes(queries, bank, np.eye(4)[targets], k, temperature)
        np.testing.assert_allclose(votes_by_k[k], expected, rtol=1e-4, atol=1e-6)


def test_several_labels_each_get_the_vote() -> None:
    """With multi-label targets (N, C) a neighbour votes for each of its labels."""
    queries, bank, _ = problem()
    labels = np.random.default_rng(1).integers(0, 2, (50, 5))
    fast = votes(queries, bank, labels, 5, [10])[10]
    np.testing.assert_allclose(fast, slow_votes(queries, bank, labels, 10, 0.07), rtol=1e-4, atol=1e-6)


def test_blocks_bound_memory_not_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 7 queries give the same votes as one block of all queries."""
    queries, bank, targets = problem()
    whole = votes(queries, bank, targets, 4, [5])[5]
    monkeypatch.setattr(neighbours, "_BLOCK", 7)
    np.testing.assert_allclose(votes(queries, bank, targets, 4, [5])[5], whole, rtol=1e-4)


def test_more_neighbours_than_the_bank_holds_are_all_of_it() -> None:
    """With 50 examples in the bank, k = 1000 gives the votes of k = 50."""
    queries, bank, targets = problem()
    votes_by_k = votes(queries, bank, targets, 4, [50, 1000])
    np.testing.assert_array_equal(votes_by_k[50], votes_by_k[1000])


def test_length_does_not_count() -> None:
    """Scaled features give the same votes, and a temperature of 0.001 does not overflow."""
    queries, bank, targets = problem()
    scales = np.random.default_rng(0).uniform(0.1, 100, (50, 1)).astype(np.float32)
    scaled = votes(queries * 7, bank * scales, targets, 4, [5], temperature=1e-3)[5]
    np.testing.assert_allclose(scaled, votes(queries, bank, targets, 4, [5], temperature=1e-3)[5], rtol=1e-2, atol=1e-3)
    assert np.isfinite(scaled).all()


def test_a_row_of_zeros_stays_zero() -> None:
    """A row of zeros is not divided by zero."""
    assert l2_normalise(np.array([[3.0, 4.0], [0.0, 0.0]])).flatten().tolist() == pytest.approx([0.6, 0.8, 0.0, 0.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("role", ["queries", "bank"])
def test_features_that_are_not_finite_get_no_vote(bad: float, role: str) -> None:
    """NaN, infinity, and a length that overflows float32 are an error: torch would call NaN the nearest neighbour."""
    queries, bank, targets = problem()
    (queries if role == "queries" else bank)[7, 3] = bad
    with pytest.raises(NotFiniteError, match=r"^features are NaN, infinite, or too large .*; check the checkpoint"):
        votes(queries, bank, targets, 4, [5])


def test_finite_votes_have_the_same_bits() -> None:
    """Votes of finite features are those of the plain formula in torch, in every bit."""
    queries, bank, targets = problem()
    rows, stored = (torch.nn.functional.normalize(torch.from_numpy(each), dim=1) for each in (queries, bank))
    values, indices = (rows @ stored.T).topk(5, dim=1)
    weights = ((values - values[:, :1]) / 0.07).double().exp().numpy()
    expected = np.einsum("qk,qkc->qc", weights, np.eye(4)[targets][indices.numpy()])
    np.testing.assert_array_equal(votes(queries, bank, targets, 4, [5])[5], expected)
