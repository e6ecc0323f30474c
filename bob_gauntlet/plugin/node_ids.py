"""The part of a test's id in brackets, `backbone@dataset`: written here, and read back from node ids alone."""

from urllib.parse import quote, unquote

_PLAIN = "!#$&'()*+,/:;=?@^{}|~"


def bracket(backbone: str, dataset: str) -> str:
    """The id of one backbone on one dataset; what pytest would escape or split at is percent-encoded.

    >>> bracket("timm:vit@my checkpoint.pth", "photos")
    'timm:vit@my%20checkpoint.pth@photos'
    """
    return f"{quote(backbone, safe=_PLAIN)}@{dataset}"


def unbracket(text: str) -> tuple[str, str]:
    """Backbone and dataset of a bracket id; the inverse of `bracket`. Datasets have no @ in their names."""
    backbone, _, dataset = text.rpartition("@")
    return unquote(backbone), dataset


def of_node(node_id: str) -> tuple[str, str]:
    """Backbone and dataset of a node id, ("", "") where it has no bracket.

    >>> of_node("suites/test_retrieval.py::test_retrieval[resnet50@photos-instances]")
    ('resnet50', 'photos-instances')
    """
    _, opening, rest = node_id.partition("[")
    return unbracket(rest.removesuffix("]")) if opening else ("", "")
