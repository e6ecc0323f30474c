"""Load the right weights of a checkpoint into a network, all of them, or say in one line why not."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
from torch import nn

from bob_gauntlet.backbones.architecture_guess import guess_architecture
from bob_gauntlet.backbones.checkpoint_fit import Fit, check_numbers, describe_resampling, fit, share_filled
from bob_gauntlet.backbones.checkpoint_parts import (
    ROOT,
    Part,
    choices,
    count_left_over,
    find_parts,
    keep_published,
)
from bob_gauntlet.backbones.checkpoints import Groups, Tensors
from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.errors import UsageError, named

_Candidate = tuple[Part, Fit]

_COUNTER = "num_batches_tracked"
"""The counter of batch norm, on which no feature depends."""


def fill(module: nn.Module, groups: Groups, spec: BackboneSpec) -> dict[str, Any]:
    """Load the network that a checkpoint holds into `module`, and return what to report of it.

    The result has `part` (which network of the file was taken), `left_over` (place -> number of unused tensors),
    `partial` where only a part of the network or of the file was loaded, `notes` and `warnings` for the user. Raises
    UsageError where the file holds several such networks, does not fill the whole network, or has tensors for
    containers of the network that the network lacks; with `spec.allow_partial` the last two are accepted.
    """
    source = Path(spec.path).name
    part, fitted, rivals = _choose(module, groups, spec)
    if fitted.problems and not spec.allow_partial:
        raise UsageError(_describe_misfit(module, fitted, part, spec))
    if not fitted.filling:
        raise UsageError(f"{source} has no tensor of {type(module).__name__}; name the architecture it was saved from")
    check_numbers(module, fitted.filling, source)
    module.load_state_dict(fitted.filling, strict=False)
    left_over = count_left_over(groups, part, fitted.used)
    return {
        "part": "" if part.label == ROOT else part.label,
        "left_over": left_over,
        **({"partial": _describe_partial(module, fitted)} if fitted.problems else {}),
        "notes": _notes(source, part, rivals, left_over),
        "warnings": [*describe_resampling(module, fitted, source), *_activation_warning(module, part, spec)],
    }


def fill_in_order(module: nn.Module, tensors: Tensors, source: str) -> None:
    """Load tensors whose names differ from those of the module, in order.

    A classifier at the end (two more tensors than the module has) is ignored. Raises UsageError where a shape or the
    number of tensors differs.
    """
    expected = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith(_COUNTER)}
    given = [tensor for name, tensor in tensors.items() if not name.endswith(_COUNTER)]
    pairs = list(zip(expected.items(), given, strict=False))
    differing = [name for (name, expected_tensor), tensor in pairs if expected_tensor.shape != tensor.shape]
    if differing or len(given) not in (len(expected), len(expected) + 2):
        problem = f"another shape of {named(differing)}" if differing else "another number of tensors"
        raise UsageError(f"{source} does not fit {type(module).__name__}: {problem}; name the right architecture")
    module.load_state_dict({name: tensor for (name, _), tensor in pairs}, strict=False)


def _choose(module: nn.Module, groups: Groups, spec: BackboneSpec) -> tuple[Part, Fit, list[str]]:
    """Return the network of a checkpoint that fits the module best, its fit, and what names the others.

    The others fit as well, and are by convention not the published network.

    Raises UsageError where several networks fit equally well, or the spec names a part that is not there.
    """
    source = Path(spec.path).name
    candidates = [(part, fit(module, part.tensors)) for part in find_parts(groups, module.state_dict(), spec.part)]
    if not candidates:
        labels = [part.label for part in find_parts(groups, module.state_dict())]
        raise UsageError(f"{source} has no part {spec.part!r}; it has {named(choices(labels).values(), 6)}")
    least = min(fitted.problems for _, fitted in candidates)
    best = {part.label: (part, fitted) for part, fitted in candidates if fitted.problems == least}
    published = keep_published(best)
    texts = choices(best)
    if len(published) > 1 and (not least or spec.allow_partial):
        names = [texts[label] for label in published]
        raise UsageError(
            f"{source} holds {len(names)} networks that fit {spec.target}: {', '.join(names)}; choose one, for example "
            f"{_without_part(spec)}#{names[0]}"
        )
    part, fitted = best[published[0]]
    return part, fitted, [text for label, text in texts.items() if label not in published]


def _describe_misfit(module: nn.Module, fitted: Fit, part: Part, spec: BackboneSpec) -> str:
    """Return the one line with which a checkpoint is refused, and what to type instead."""
    source = Path(spec.path).name + (f"#{part.label}" if part.label != ROOT else "")
    expected = module.state_dict()
    shapes = named(f"{n} {tuple(t.shape)} for {tuple(expected[n].shape)}" for n, t in fitted.differing.items())
    problems = [f"{len(fitted.missing)} missing ({named(fitted.missing)})"] * bool(fitted.missing)
    problems += [f"{len(fitted.differing)} of another shape ({shapes})"] * bool(fitted.differing)
    problems += [f"{len(fitted.surplus)} more than the network has ({named(fitted.surplus)})"] * bool(fitted.surplus)
    share = share_filled(module, fitted.filling)
    return (
        f"{source} does not fit {type(module).__name__}: {'; '.join(problems)}; it fills {share:.0%}. "
        f"{_find_remedy(module, part, fitted, spec)}, or pass --bob-allow-partial"
    )


def _find_remedy(module: nn.Module, part: Part, fitted: Fit, spec: BackboneSpec) -> str:
    """Return what to do about a checkpoint that does not fit."""
    has_common_names = fitted.filling or fitted.differing
    if has_common_names and (guess := guess_architecture(spec, module, part.tensors)):
        return f"It fits {guess}: name that"
    if shard := re.search(r"-(\d+)-of-(\d+)$", Path(spec.path).stem):
        return f"It is shard {int(shard[1])} of {int(shard[2])}: join them in one file"
    return "Name the right architecture"


def _describe_partial(module: nn.Module, fitted: Fit) -> str:
    """Return how much of the network was in the file, and how much of the file has no place in the network."""
    share = share_filled(module, fitted.filling)
    # a share that is not whole is never shown as 100%
    percent = f"{min(share, 0.99):.0%}" if fitted.missing or fitted.differing else "100%"
    surplus = f", and {len(fitted.surplus)} tensors of the file have no place in the network" if fitted.surplus else ""
    return f"partial: {percent} of the parameters were in the file{surplus}"


def _notes(source: str, part: Part, rivals: Sequence[str], left_over: Mapping[str, int]) -> list[str]:
    """Return one line that says which network of the file was taken and what was left over; [] where all was used."""
    others = f" by convention, and not {', '.join(rivals)}" if rivals else ""
    taken = [f"{part.label} of {source} is used{others}"] if part.label != ROOT else []
    counts = [f"{place} ({count} tensor{'s' * (count != 1)})" for place, count in left_over.items()]
    text = "; ".join([*taken, *([f"not used of {source}: {named(counts, 6)}"] if counts else [])])
    return [text] if text else []


def _activation_warning(module: nn.Module, part: Part, spec: BackboneSpec) -> list[str]:
    """Return a warning where weights in OpenAI's CLIP format, which had QuickGELU, meet a network with GELU."""
    is_clip = any(name.endswith("class_embedding") for name in part.tensors)
    if not is_clip or any(type(inner).__name__ == "QuickGELU" for inner in module.modules()):
        return []
    target = spec.target.replace("_clip_", "_clip_quickgelu_")
    is_known = target != spec.target and timm.is_model(target)
    remedy = f"name timm:{target}" if is_known else "name an architecture with quickgelu"
    return [
        f"{Path(spec.path).name} has the format of OpenAI's CLIP, which was trained with QuickGELU, and {spec.target} "
        f"has GELU: for weights of OpenAI {remedy}"
    ]


def _without_part(spec: BackboneSpec) -> str:
    """Return the SPEC as the user typed it, without the part of the checkpoint."""
    return spec.text.removesuffix(f"#{spec.part}") if spec.part else spec.text
