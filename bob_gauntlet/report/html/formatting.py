"""Format numbers, places, p-values and sources for the page."""

import math
import re
from collections.abc import Sequence

from bob_gauntlet.ranking.score_table import ALL
from bob_gauntlet.scores.score import METRICS, Score
from bob_gauntlet.scores.settings import TASKS

NO_VALUE = "–"
"""Shown instead of a missing number."""

_TINT_STEPS = (0.25, 0.75, 1.25, 1.75)
"""|z| from which a cell gets the next stronger colour."""


def format_signed(value: float | None, digits: int = 2) -> str:
    """Format a number with its sign; a negative one gets a minus sign, not a hyphen.

    >>> format_signed(0.456), format_signed(-1.2), format_signed(-0.001), format_signed(None)
    ('+0.46', '−1.20', '0.00', '–')
    """
    if value is None or not math.isfinite(value):
        return NO_VALUE
    text = f"{value:+.{digits}f}"
    return (text if float(text) else text[1:]).replace("-", "−")


def format_number(value: float | None) -> str:
    """Format a number with at most four significant digits; from a thousand on as a whole number.

    >>> format_number(47.91), format_number(0.69812), format_number(25276502.0), format_number(None)
    ('47.91', '0.6981', '25,276,502', '–')
    """
    if value is None or not math.isfinite(value):
        return NO_VALUE
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "−")


def format_change(value: float | None) -> str:
    """Format a difference of two values with its sign and three significant digits.

    >>> format_change(1.50123), format_change(-0.25), format_change(0.0)
    ('+1.5', '−0.25', '0')
    """
    rounded = None if value is None else float(f"{value:.3g}")
    return format_number(rounded) if not rounded or rounded < 0 else f"+{format_number(rounded)}"


def format_error(value: float | None) -> str:
    """Format a standard error with two significant digits after a ± sign.

    >>> format_error(0.8389), format_error(6.94), format_error(None)
    ('± 0.84', '± 6.9', '')
    """
    return "" if value is None else f"± {value:.2g}"


def align_decimals(texts: Sequence[str]) -> list[str]:
    """Pad the numbers of a column on the right so that their decimal points are below each other.

    The padding consists of a space as wide as a point and of spaces as wide as a digit.

    >>> [text.replace("\u2007", "_").replace("\u2008", ".") for text in align_decimals(["95", "36.75"])]
    ['95.__', '36.75']
    """
    decimals = [len(text.partition(".")[2]) for text in texts]
    most = max(decimals, default=0)
    point = "\u2008" if most else ""
    return [
        text + (point if "." not in text else "") + "\u2007" * (most - count)
        for text, count in zip(texts, decimals, strict=True)
    ]


def format_with_unit(value: float, metric: str) -> str:
    """Format a value of a metric with its unit.

    >>> format_with_unit(47.91, "top1"), format_with_unit(7.5, "latency")
    ('47.91%', '7.5 ms')
    """
    unit = METRICS[metric].unit
    return format_number(value) + (unit if unit in ("", "%") else f" {unit}")


def format_percent(share: float | None) -> str:
    """Format a share as a whole percentage.

    >>> format_percent(0.638)
    '64%'
    """
    return NO_VALUE if share is None else f"{share:.0%}"


def format_ordinal(number: int) -> str:
    """Format a whole number as an English ordinal.

    >>> [format_ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 113)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '102nd', '113th']
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def format_p_value(p: float | None) -> str:
    """Format a p-value with three decimals; a very small one as an upper bound instead of zero.

    >>> format_p_value(0.45117), format_p_value(0.0002), format_p_value(1.0)
    ('0.451', '<0.001', '1.000')
    """
    if p is None:
        return NO_VALUE
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def tint_class(z: float | None) -> str:
    """Return the CSS class of a cell's colour, from "n4" (far below the mean) to "p4"; "" without a value.

    >>> tint_class(-3.0), tint_class(-0.5), tint_class(0.1), tint_class(0.75), tint_class(None)
    ('n4', 'n1', 'z0', 'p2', '')
    """
    if z is None or not math.isfinite(z):
        return ""
    step = sum(abs(z) >= edge for edge in _TINT_STEPS)
    return "z0" if not step else f"{'p' if z > 0 else 'n'}{step}"


def difference_class(difference: float | None) -> str:
    """Return the CSS class of a difference: "good" above zero, "bad" below, "" if it rounds to 0.00.

    >>> difference_class(0.4), difference_class(-0.4), difference_class(0.001)
    ('good', 'bad', '')
    """
    if difference is None or abs(difference) < 0.005:
        return ""
    return "good" if difference > 0 else "bad"


def describe_source(score: Score) -> str:
    """Return where a score comes from: "measured", or the cells of the paper's tables.

    >>> describe_source(Score(setting="knn@photos", metric="top1", task="Cls", value=1.0, backbone="a",
    ...                       source="table16:17:instre"))
    'Table 16, row 17, column instre'
    """
    return "measured" if score.source == "run" else "; ".join(map(_describe_table_cell, score.source.split("; ")))


def describe_column(name: str) -> str:
    """Return what a column of the ranking covers.

    >>> describe_column("Ret"), describe_column("All")
    ('image retrieval', "the paper's six tasks")
    """
    return "the paper's six tasks" if name == ALL else TASKS.get(name, name)


def describe_task(task: str) -> str:
    """Return the name of a task for a sentence such as "Best at retrieval".

    >>> describe_task("Ret"), describe_task("OOD-Det"), describe_task("Eff")
    ('retrieval', 'detection out of distribution', 'efficiency')
    """
    return re.sub(r"^(image|object|instance) ", "", describe_column(task))


def _describe_table_cell(text: str) -> str:
    """Return a source such as "table16:17:instre" in words; any other source stays as it is."""
    match = re.fullmatch(r"table0*(\d+):(\d+):(\w+)", text)
    return "Table {}, row {}, column {}".format(*match.groups()) if match else text
