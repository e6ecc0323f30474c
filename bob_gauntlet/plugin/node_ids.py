"""The bracketed part of a test's id, `backbone@protocol@dataset`: written for pytest, and read back from node ids."""

from urllib.parse import quote, unquote

_SAFE = "!#$&'()*+,/:;=?@^{}|~"
"""Punctuation that pytest prints as it is; everything else that is not a letter or digit is percent-encoded."""


def item_id(backbone: str, setting: str) -> str:
    """Return the id of one backbone in one setting; characters that pytest would escape are percent-encoded.

    >>> item_id("timm:vit@my checkpoint.pth", "knn@photos")
    'timm:vit@my%20checkpoint.pth@knn@photos'
    """
    return f"{quote(backbone, safe=_SAFE)}@{setting}"


def parse_item_id(text: str) -> tuple[str, str]:
    """Return backbone and setting of an id, the inverse of `item_id`; ("", "") where the text is no such id.

    Neither protocols nor datasets have an @ in their names.
    """
    backbone, *setting = text.rsplit("@", 2)
    return (unquote(backbone), "@".join(setting)) if len(setting) == 2 else ("", "")


def parse_node_id(node_id: str) -> tuple[str, str]:
    """Return backbone and setting of a node id; ("", "") for a test that measures no setting.

    >>> parse_node_id("suites/test_retrieval.py::test_retrieval[resnet50@retrieval@photos-instances]")
    ('resnet50', 'retrieval@photos-instances')
    """
    return parse_item_id(node_id.partition("[")[2].removesuffix("]"))
