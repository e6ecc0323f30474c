"""Retrieval metrics against a slow reference, scikit-learn, and a port of the original code."""

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score

from bob_gauntlet.metrics import retrieval
from bob_gauntlet.metrics.retrieval import (
    Relevance,
    average_precision,
    ranks_of_relevant,
    recall_at,
    reciprocal_rank,
    relevance_from_targets,
)

Drawn = tuple[np.ndarray, np.ndarray, Relevance]
IRRELEVANT, POSITIVE, JUNK = 0, 1, 2


@st.composite
def problems(draw: st.DrawFn) -> Drawn:
    """Draw queries, gallery and relevance.

    The features are small whole numbers, so that products are exact and most draws have ties and duplicates.
    """
    width, queries, gallery = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 30))
    whole = st.integers(-2, 2).map(float)
    q, g = (draw(hnp.arrays(np.float32, (n, width), elements=whole)) for n in (queries, gallery))
    roles = draw(hnp.arrays(np.int64, (queries, gallery), elements=st.integers(0, 2)))
    return q, g, [(np.flatnonzero(row == POSITIVE), np.flatnonzero(row == JUNK)) for row in roles]


def ranked_list(query: np.ndarray, gallery: np.ndarray, positives: np.ndarray) -> list[int]:
    """Return gallery indices from the most similar down, relevant ones after equal ones, in plain Python."""
    similarity = [sum(a * b for a, b in zip(query.tolist(), row, strict=True)) for row in gallery.tolist()]
    wanted = set(positives.tolist())
    return sorted(range(len(gallery)), key=lambda i: (-similarity[i], i in wanted))


def slow_ranks(drawn: Drawn, *, skip_junk: bool) -> list[list[int]]:
    """Return the ranks of the relevant images, from a walk through each query's ranked list."""
    ranks = []
    for query, (positives, junk) in zip(drawn[0], drawn[2], strict=True):
        skipped = set(junk.tolist()) if skip_junk else set()
        kept = [i for i in ranked_list(query, drawn[1], positives) if i not in skipped]
        ranks.append([place for place, i in enumerate(kept, start=1) if i in set(positives.tolist())])
    return ranks


def philbin_ap(ranked: Sequence[int], positives: set[int], junk: set[int]) -> float:
    """Compute average precision by a port of compute_ap.cpp (Philbin et al. 2007).

    The original is www.robots.ox.ac.uk/~vgg/data/oxbuildings/compute_ap.cpp.
    """
    old_recall, old_precision, ap = 0.0, 1.0, 0.0
    intersect_size = j = 0
    for image in ranked:
        if image in junk:
            continue
        intersect_size += image in positives
        recall = intersect_size / len(positives)
        precision = intersect_size / (j + 1.0)
        ap += (recall - old_recall) * ((old_precision + precision) / 2.0)
        old_recall, old_precision = recall, precision
        j += 1
    return ap


def as_lists(ranks: list[np.ndarray]) -> list[list[int]]:
    """Return the ranks as plain lists, for comparison."""
    return [r.tolist() for r in ranks]


@given(problems(), st.booleans())
def test_ranks_are_the_places_in_the_sorted_list(drawn: Drawn, skip_junk: bool) -> None:
    """The ranks are those of a sorted gallery in Python, irrelevant ties first, with junk removed or left in."""
    assert as_lists(ranks_of_relevant(*drawn, skip_junk=skip_junk)) == slow_ranks(drawn, skip_junk=skip_junk)


@given(problems())
def test_trapezoid_is_the_original_average_precision(drawn: Drawn) -> None:
    """The result is that of the Oxford buildings code on the same ranked list."""
    for query, ranks, (positives, junk) in zip(drawn[0], ranks_of_relevant(*drawn), drawn[2], strict=True):
        if len(positives):
            ranked = ranked_list(query, drawn[1], positives)
            expected = philbin_ap(ranked, set(positives.tolist()), set(junk.tolist()))
            assert average_precision(ranks) == pytest.approx(expected, abs=1e-12)


@given(st.permutations(range(-10, 11)), st.sets(st.integers(0, 20), min_size=1))
def test_step_is_scikit_learns_average_precision(values: list[int], relevant: set[int]) -> None:
    """It is sklearn.metrics.average_precision_score where similarities differ, also with negative ones."""
    gallery = np.array(values, np.float32)[:, None]
    positives = np.array(sorted(relevant))
    [ranks] = ranks_of_relevant(np.ones((1, 1), np.float32), gallery, [(positives, np.array([], int))])
    expected = average_precision_score(np.isin(np.arange(21), positives), gallery[:, 0])
    assert average_precision(ranks, "step") == pytest.approx(expected, abs=1e-12)


@given(problems(), st.integers(1, 7))
def test_the_size_of_blocks_changes_nothing(drawn: Drawn, rows: int) -> None:
    """The size of a block does not change the ranks."""
    whole = as_lists(ranks_of_relevant(*drawn))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_ROWS", rows)
        assert as_lists(ranks_of_relevant(*drawn)) == whole


def test_blocks_are_bounded_in_similarities(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large gallery has blocks of fewer queries: with 10 similarities at a time and 5 images, 2 queries."""
    monkeypatch.setattr(retrieval, "_SIMILARITIES", 10)
    sizes: list[int] = []
    ranks_of_relevant(np.ones((5, 1)), np.ones((5, 1)), [([0], [])] * 5, advance=sizes.append)
    assert sizes == [2, 2, 1]


@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_the_gallery_earns_nothing(drawn: Drawn, random: Random) -> None:
    """A shuffled gallery gives the same ranks, also with ties."""
    queries, gallery, relevance = drawn
    order = np.array(random.sample(range(len(gallery)), len(gallery)))
    moved = np.argsort(order)
    shuffled = [(moved[positives], moved[junk]) for positives, junk in relevance]
    assert as_lists(ranks_of_relevant(queries, gallery[order], shuffled)) == as_lists(ranks_of_relevant(*drawn))


@pytest.mark.parametrize("queries", [1, 3, 64, 65])
@pytest.mark.parametrize("gallery", [2, 5, 17, 33, 257])
@pytest.mark.parametrize("width", [8, 97])
def test_equal_images_tie_wherever_they_stand(queries: int, gallery: int, width: int) -> None:
    """In a gallery of G copies of one image the only relevant copy has rank G, whichever copy it is.

    A plain matrix product fails here: it rounds its last columns and short blocks differently.
    """
    rng = np.random.default_rng(0)
    q, image = rng.normal(size=(queries, width)).astype("f4"), rng.normal(size=width).astype("f4")
    relevance = [(np.array([i % gallery]), np.array([], int)) for i in range(queries)]
    ranks = ranks_of_relevant(q, np.tile(image, (gallery, 1)), relevance)
    assert as_lists(ranks) == [[gallery]] * queries


def test_tied_relevant_images_do_not_share_a_rank() -> None:
    """Five copies that are all relevant have the ranks 1 to 5, so that AP is 1; if all had rank 1, it would be 3."""
    copies = np.ones((5, 3), np.float32)
    [ranks] = ranks_of_relevant(copies[:1], copies, [(np.arange(5), np.array([], int))])
    assert ranks.tolist() == [1, 2, 3, 4, 5]
    assert average_precision(ranks) == average_precision(ranks, "step") == 1.0


def test_features_that_are_all_the_same_score_as_the_worst_order() -> None:
    """Two relevant images of ten equal ones have the ranks 9 and 10."""
    same = np.full((10, 4), 0.5, np.float32)
    [ranks] = ranks_of_relevant(same[:1], same, [(np.array([0, 1]), np.array([], int))])
    assert ranks.tolist() == [9, 10]


def test_junk_is_taken_out_or_keeps_its_place() -> None:
    """Junk before and beside a relevant image changes its rank only if junk is not skipped."""
    gallery = np.array([[5], [4], [4], [3], [2]], np.float32)
    case = (np.ones((1, 1), np.float32), gallery, [(np.array([1, 4]), np.array([0, 2]))])
    assert as_lists(ranks_of_relevant(*case)) == [[1, 3]]  # the list is [1, 3, 4]
    assert as_lists(ranks_of_relevant(*case, skip_junk=False)) == [[3, 5]]  # the list is [0, 2, 1, 3, 4]


def test_a_query_without_relevant_images_has_no_average_precision() -> None:
    """Average precision and recall are NaN, and the reciprocal rank is 0."""
    [ranks] = ranks_of_relevant(np.ones((1, 1)), np.ones((3, 1)), [(np.array([], int), np.array([1]))])
    assert ranks.tolist() == []
    assert np.isnan(average_precision(ranks))
    assert np.isnan(recall_at(ranks, 5))
    assert reciprocal_rank(ranks) == 0.0


# by hand: ranks 2, 3, 6 of three relevant images
#   step       (1/2 + 2/3 + 3/6) / 3 = 10/18
#   trapezoid  ((0/1 + 1/2) + (1/2 + 2/3) + (2/5 + 3/6)) / 2 / 3 = 77/180
def test_a_worked_example() -> None:
    """Every metric of one ranked list is that worked out above."""
    ranks = np.array([2, 3, 6])
    assert average_precision(ranks, "step") == pytest.approx(10 / 18, abs=1e-12)
    assert average_precision(ranks, "trapezoid") == pytest.approx(77 / 180, abs=1e-12)
    assert reciprocal_rank(ranks) == 0.5
    assert [recall_at(ranks, k) for k in (1, 5, 10)] == [0.0, pytest.approx(2 / 3), 1.0]


@given(
    hnp.arrays(np.int64, st.integers(0, 6), elements=st.integers(-1, 3)),
    hnp.arrays(np.int64, st.integers(0, 12), elements=st.integers(-1, 3)),
)
def test_images_of_equal_target_are_relevant(queries: np.ndarray, gallery: np.ndarray) -> None:
    """The relevant images are those of a comparison of every pair, and nothing is junk."""
    relevance = [
        (sorted(positives.tolist()), len(junk)) for positives, junk in relevance_from_targets(queries, gallery)
    ]
    assert relevance == [([i for i, g in enumerate(gallery) if g == q], 0) for q in queries]
