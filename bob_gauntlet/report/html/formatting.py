"""Numbers and sources as a page writes them: signs, places, p-values, cells of a printed table."""

import math
import re
from collections.abc import Sequence

from bob_gauntlet.ranking.score_table import ALL
from bob_gauntlet.scores.score import METRICS, Score
from bob_gauntlet.scores.settings import TASKS

NOTHING = "–"
"""What stands where there is no number."""

_STEPS = (0.25, 0.75, 1.25, 1.75)
"""|z| at which a cell's colour goes one step further from the middle."""


def signed(value: float | None, digits: int = 2) -> str:
    """With its sign, a real minus.

    >>> signed(0.456), signed(-1.2), signed(-0.001), signed(None)
    ('+0.46', '−1.20', '0.00', '–')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:+.{digits}f}"
    return (text if float(text) else text[1:]).replace("-", "−")


def plain(value: float | None) -> str:
    """In at most four digits; counts and rates of a thousand or more whole.

    >>> plain(47.91), plain(0.69812), plain(25276502.0), plain(None)
    ('47.91', '0.6981', '25,276,502', '–')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "−")


def change(value: float | None) -> str:
    """A difference of two values in three digits, with its sign.

    >>> change(1.50123), change(-0.25), change(0.0)
    ('+1.5', '−0.25', '0')
    """
    rounded = None if value is None else float(f"{value:.3g}")
    return plain(rounded) if not rounded or rounded < 0 else f"+{plain(rounded)}"


def error(value: float | None) -> str:
    """A standard error in two digits, with its sign.

    >>> error(0.8389), error(6.94), error(None)
    ('± 0.84', '± 6.9', '')
    """
    return "" if value is None else f"± {value:.2g}"


def aligned(texts: Sequence[str]) -> list[str]:
    """Numbers of a column under each other at the point: blanks as wide as figures stand for what follows it.

    >>> [text.replace("\u2007", "_").replace("\u2008", ".") for text in aligned(["95", "36.75"])]
    ['95.__', '36.75']
    """
    decimals = [len(text.partition(".")[2]) for text in texts]
    most = max(decimals, default=0)
    point = "\u2008" if most else ""
    return [
        text + (point if "." not in text else "") + "\u2007" * (most - own)
        for text, own in zip(texts, decimals, strict=True)
    ]


def with_unit(value: float, metric: str) -> str:
    """A value of a metric as a sentence names it.

    >>> with_unit(47.91, "top1"), with_unit(7.5, "latency")
    ('47.91%', '7.5 ms')
    """
    unit = METRICS[metric].unit
    return plain(value) + (unit if unit in ("", "%") else f" {unit}")


def share(value: float | None) -> str:
    """In whole percent.

    >>> share(0.638)
    '64%'
    """
    return NOTHING if value is None else f"{value:.0%}"


def ordinal(place: int) -> str:
    """A place in words of English.

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 113)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '102nd', '113th']
    """
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def p_value(p: float | None) -> str:
    """To three digits, never a bare zero.

    >>> p_value(0.45117), p_value(0.0002), p_value(1.0)
    ('0.451', '<0.001', '1.000')
    """
    if p is None:
        return NOTHING
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def tint(z: float | None) -> str:
    """The class of a cell's colour, "n4" (far below the mean) to "p4"; "" for no value.

    >>> tint(-3.0), tint(-0.5), tint(0.1), tint(0.75), tint(None)
    ('n4', 'n1', 'z0', 'p2', '')
    """
    if z is None or not math.isfinite(z):
        return ""
    step = sum(abs(z) >= edge for edge in _STEPS)
    return "z0" if not step else f"{'p' if z > 0 else 'n'}{step}"


def leaning(difference: float | None) -> str:
    """The class of a difference: "good" above zero, "bad" below, "" for what rounds to nothing.

    >>> leaning(0.4), leaning(-0.4), leaning(0.001)
    ('good', 'bad', '')
    """
    if difference is None or abs(difference) < 0.005:
        return ""
    return "good" if difference > 0 else "bad"


def source(score: Score) -> str:
    """Where a number comes from.

    >>> source(Score(setting="knn@photos", metric="top1", task="Cls", value=1.0, backbone="a",
    ...              source="table16:17:instre"))
    'Table 16, row 17, column instre'
    """
    return "measured" if score.source == "run" else "; ".join(map(_cell, score.source.split("; ")))


def column(name: str) -> str:
    """What a column of a ranking is about.

    >>> column("Ret"), column("All")
    ('image retrieval', 'the whole gauntlet')
    """
    return "the whole gauntlet" if name == ALL else TASKS.get(name, name)


def task_in_words(task: str) -> str:
    """A task as a sentence names it: 'best at retrieval'.

    >>> task_in_words("Ret"), task_in_words("OOD-Det"), task_in_words("Eff")
    ('retrieval', 'detection out of distribution', 'efficiency')
    """
    return re.sub(r"^(image|object|instance) ", "", column(task))


def _cell(text: str) -> str:
    """Of a source; as it is where it names no cell of a table."""
    match = re.fullmatch(r"table0*(\d+):(\d+):(\w+)", text)
    return "Table {}, row {}, column {}".format(*match.groups()) if match else text
