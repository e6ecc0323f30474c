"""Find the networks that a checkpoint holds: student and teacher, two encoders, or weights and their EMA."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from bob_gauntlet.backbones.checkpoints import Groups, Tensors

_PUBLISHED = (("teacher", "student"), ("encoder_q", "encoder_k"), ("base_encoder", "momentum_encoder"))
"""Pairs of networks of which the first is the one that is evaluated and published.

The teacher: Caron et al. 2021 (DINO), section 3.1, and the methods that follow it. encoder_q: He et al. 2020 (MoCo),
main_lincls.py. base_encoder: Chen et al. 2021 (MoCo v3), main_lincls.py.
"""

_MOST = 12
"""Parts of a checkpoint that are compared with a network."""

ROOT = "."
"""The label of the network whose names have no prefix, in a file without keys around it."""


@dataclass(frozen=True)
class Part:
    """One network inside a checkpoint: the tensors of one state dict whose names begin with one prefix."""

    # keys under which the state dict lies; "" for the file itself
    group: str
    # such as "module.encoder_q."; "" for none
    prefix: str
    # tensors by their names without the prefix
    tensors: Tensors

    @property
    def label(self) -> str:
        """The keys and the prefix, as a user names the part after `#`."""
        return label_of(self.group, self.prefix)


def label_of(group: str, prefix: str) -> str:
    """Return how a user names a part: the keys of its state dict and its prefix, joined by dots."""
    return ".".join(text for text in (group, prefix.rstrip(".")) if text) or ROOT


def find_parts(groups: Groups, expected: Collection[str], wanted: str = "") -> list[Part]:
    """Return the parts of a checkpoint that may be the network whose tensors have the names `expected`.

    These are the parts with the most fitting names, and those with at least half as many. Where fewer than half of the
    names fit anywhere, the largest state dicts are added, as they may have another published format. `wanted` restricts
    the parts to those that a user named; the list is empty where there is none.
    """
    expected_names = frozenset(expected)
    fitting = Counter(
        (group, name[:start])
        for group, tensors in groups.items()
        for name in tensors
        for start in _starts(name)
        if name[start:] in expected_names
    )
    fitting = _restrict(fitting, wanted)
    places = _largest(fitting)
    if 2 * max(fitting.values(), default=0) < len(expected_names):
        sizes = Counter({(group, ""): len(tensors) for group, tensors in groups.items()})
        places = list(dict.fromkeys([*places, *_largest(_restrict(sizes, wanted))]))
    return [Part(group, prefix, _with_prefix(groups[group], prefix)) for group, prefix in places]


def keep_published(labels: Iterable[str]) -> list[str]:
    """Return the labels without the networks that are by convention not the published ones.

    >>> keep_published(["student.module.backbone", "teacher.backbone"])
    ['teacher.backbone']
    """
    kept = list(labels)
    for published, other in _PUBLISHED:
        if any(published in label.split(".") for label in kept):
            kept = [label for label in kept if other not in label.split(".")]
    return kept


def count_left_over(groups: Groups, part: Part, used: Collection[str]) -> dict[str, int]:
    """Return where the tensors lie that were not used -> their number, the most first.

    `used` are the names that were used of the part, without its prefix. A place is a module beside the network, such as
    `head` or `module.encoder_k`, or the key of another state dict, such as `optimizer`.
    """
    places = Counter(
        _place(group, name, part)
        for group, tensors in groups.items()
        for name in tensors
        if not (group == part.group and name.startswith(part.prefix) and name.removeprefix(part.prefix) in used)
    )
    return dict(places.most_common())


def _place(group: str, name: str, part: Part) -> str:
    """Return where a tensor lies that the part does not use, in as few steps as tell it from the part."""
    if group != part.group:
        return _first_steps(group, _shared_steps(group, part.group) + 1) if group else _first_steps(name, 1)
    inside = name.startswith(part.prefix)
    return _first_steps(name, part.prefix.count(".") + 1 if inside else _shared_steps(name, part.prefix) + 1)


def _shared_steps(one: str, other: str) -> int:
    """Return the number of first steps that two dotted names share."""
    steps = list(zip(one.split("."), other.split("."), strict=False))
    return next((index for index, (a, b) in enumerate(steps) if a != b), len(steps))


def choices(labels: Iterable[str]) -> dict[str, str]:
    """Return label -> its first step that names it and no other of the labels, or the label itself.

    >>> choices(["model.module.encoder_q", "model.module.encoder_k"])
    {'model.module.encoder_q': 'encoder_q', 'model.module.encoder_k': 'encoder_k'}
    """
    every = list(labels)
    texts = {}
    for label in every:
        unique = (s for s in label.split(".") if s and [other for other in every if names_part(s, other)] == [label])
        texts[label] = next(unique, label)
    return texts


def names_part(wanted: str, label: str) -> bool:
    """Return whether a text names a part: the whole label, or some of its steps in a row.

    >>> names_part("encoder_q", "state_dict.module.encoder_q"), names_part("model", "model_ema")
    (True, False)
    """
    return wanted == label or (wanted != ROOT and f".{wanted}." in f".{label}.")


def _restrict(counts: Mapping[tuple[str, str], int], wanted: str) -> Counter[tuple[str, str]]:
    """Return the counts of the places that `wanted` names; a whole label is preferred to a part of another one."""
    if not wanted:
        return Counter(counts)
    exact = {place: count for place, count in counts.items() if label_of(*place) == wanted}
    return Counter(exact or {place: n for place, n in counts.items() if names_part(wanted, label_of(*place))})


def _largest(counts: Mapping[tuple[str, str], int]) -> list[tuple[str, str]]:
    """Return the places with at least half of the largest count, in the order of the file."""
    most = max(counts.values(), default=0)
    return [place for place, count in counts.items() if 2 * count >= most][:_MOST]


def _with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _starts(name: str) -> list[int]:
    """Return the positions at which a dotted name can be cut: 0, and after every dot."""
    return [0, *(index + 1 for index, letter in enumerate(name) if letter == ".")]


def _first_steps(name: str, count: int) -> str:
    """Return the first steps of a dotted name."""
    return ".".join(name.split(".")[:count])
