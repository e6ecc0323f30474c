"""Bracket ids and their inverse."""

from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.plugin.node_ids import bracket, of_node, unbracket

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
datasets = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)


@given(names, datasets)
def test_unbracket_is_the_inverse(backbone: str, dataset: str) -> None:
    """Any name survives, and the id is what pytest prints as it is: ASCII, no brackets, no spaces."""
    text = bracket(backbone, dataset)
    assert unbracket(text) == (backbone, dataset)
    assert text.isascii()
    assert text.isprintable()
    assert not set(text) & set(" []")
    assert of_node(f"suites/test_x.py::test_y[{text}]") == (backbone, dataset)


def test_a_node_without_bracket_has_no_backbone() -> None:
    """A plain test is nobody's setting."""
    assert of_node("tests/test_x.py::test_y") == ("", "")
