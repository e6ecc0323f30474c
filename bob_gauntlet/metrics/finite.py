"""NaN and infinity are never right: every metric counts them as wrong, or stops with the reason."""

from collections.abc import Sequence

import numpy as np

from bob_gauntlet.errors import NotFiniteError, named

_NUMBERS_IN_BLOCK = 16_000_000


def finite_rows(array: np.ndarray) -> np.ndarray:
    """Return (N,) bool: whether each row of an (N, ...) array is free of NaN and infinity; in blocks of rows.

    >>> finite_rows(np.array([[1.0, 2.0], [np.nan, 2.0], [1.0, -np.inf]])).tolist()
    [True, False, False]
    """
    rows = max(1, _NUMBERS_IN_BLOCK // max(1, array[:1].size))
    axes = tuple(range(1, array.ndim))
    starts = range(0, max(1, len(array)), rows)
    return np.concatenate([np.isfinite(array[start : start + rows]).all(axis=axes) for start in starts])


def describe_not_finite(array: np.ndarray, name: str, rows: str = "examples", ids: Sequence[str] = ()) -> str:
    """Return how many rows of an (N, ...) array hold NaN or infinity, and which are the first; "" where none does.

    `name` says what the numbers are, `rows` what the rows are, and `ids` (N,) are their names, if they have some.

    >>> describe_not_finite(np.array([[0.0], [np.nan]]), "features", "images of test", ["a.png", "b.png"])
    'the features of 1 of 2 images of test are NaN or infinite: b.png'
    """
    bad = np.flatnonzero(~finite_rows(array)).tolist()
    if not bad:
        return ""
    count = f"the {name} of {len(bad)} of {len(array)} {rows} are NaN or infinite"
    return f"{count}: {named(ids[row] for row in bad)}" if len(ids) == len(array) else count


def require_finite(array: np.ndarray, name: str, rows: str = "examples", ids: Sequence[str] = ()) -> None:
    """Raise NotFiniteError with the text of `describe_not_finite` where an array holds NaN or infinity.

    >>> require_finite(np.array([[0.0], [np.nan]]), "logits")
    Traceback (most recent call last):
    bob_gauntlet.errors.NotFiniteError: the logits of 1 of 2 examples are NaN or infinite
    """
    if problem := describe_not_finite(array, name, rows, ids):
        raise NotFiniteError(problem)
