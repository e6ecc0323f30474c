"""The number of threads that a user chooses, and how threads wait for each other."""

import os

import pytest

from bob_gauntlet.runtime.threads import SPINS, WAITING, bounded_waiting, chosen_threads


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment choose nothing."""
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({}, None),
        ({"OMP_NUM_THREADS": "4"}, 4),
        ({"OMP_NUM_THREADS": " 4 , 2"}, 4),
        ({"MKL_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "3"}, 4),
        ({"OMP_NUM_THREADS": "", "MKL_NUM_THREADS": "3"}, 3),
        *(({"OMP_NUM_THREADS": text}, None) for text in ("0", "-2", "many", "1.5", ",", "²")),
    ],
)
def test_a_number_of_threads_is_read_as_the_libraries_do(environment: dict[str, str], threads: int | None) -> None:
    """The first number of a list counts; what is no number from 1 chooses nothing."""
    assert chosen_threads(environment) == threads


def test_the_wait_is_bounded_inside_only() -> None:
    """Libraries that are loaded inside, and new processes, see the bound; afterwards the environment is as before."""
    before = dict(os.environ)
    with bounded_waiting():
        assert os.environ["GOMP_SPINCOUNT"] == SPINS
    assert dict(os.environ) == before
    with pytest.raises(KeyError), bounded_waiting():
        raise KeyError
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", WAITING)
def test_a_user_who_has_chosen_how_to_wait_keeps_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One variable that is set, whatever its value is, leaves all of them alone."""
    monkeypatch.setenv(name, "")
    before = dict(os.environ)
    with bounded_waiting():
        assert dict(os.environ) == before
    assert dict(os.environ) == before
