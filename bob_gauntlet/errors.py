"""Errors that a user can mend: each message is one line that says what to type next."""

from collections.abc import Iterable


class BobError(Exception):
    """Something that the user can mend; its message is one line and names the remedy."""


class UsageError(BobError):
    """A wrong name, option or file, found before anything ran (pytest's exit code 4)."""


class MissingError(BobError):
    """Data, an extra or a device is missing: the setting is skipped, with this message as the reason."""


class NotFiniteError(BobError):
    """A network or a computation gave NaN or infinity where a number is needed."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return the known names closest to `name`, as the end of an error message; "" where none is close.

    >>> nearest("resnet5O", ["resnet50", "vit_tiny"])
    '; did you mean resnet50?'
    >>> nearest("zzz", ["resnet50"])
    ''
    """
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=count, cutoff=0.6)
    return f"; did you mean {', '.join(close)}?" if close else ""


def named(names: Iterable[str], most: int = 3) -> str:
    """Return the first few names, and how many more there are.

    >>> named(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
