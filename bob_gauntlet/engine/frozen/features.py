"""Features of a split: extracted once, stored as an artefact, and read from there afterwards."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.images import MAX_UNREADABLE_SHARE
from bob_gauntlet.engine.allocator import keep_pages
from bob_gauntlet.engine.prefetch import prefetch
from bob_gauntlet.engine.transforms import image_or_grey, normalise, normalise_on_one_thread, preprocess
from bob_gauntlet.errors import BobError, NotFiniteError
from bob_gauntlet.metrics.finite import describe_not_finite, require_finite
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.schema import Array, Arrays, Schema

Batch = tuple[torch.Tensor, list[str]]
"""(B, 3, H, W) images, and for each image that could not be read the reason; a grey image is in its place."""

UNREADABLE = Array("int64", optional=True)
"""The number of images that could not be read, in artefacts that `with_unreadable_count` completes."""


def features(backbone: Backbone, split: Split, transform: InputTransform, context: RunContext) -> np.ndarray:
    """Return the pooled pre-logits features of every image of a split: (N, D) float32.

    They are stored as an artefact under `features_key`, so that a second call makes no forward pass. Stored features
    that are NaN or infinite are extracted again, with a warning. Raises BobError where more than 1% of the images
    cannot be read, or where the extracted features are not finite or the same for all images.
    """
    key = features_key(backbone, split, transform)

    def check_values(stored: Arrays) -> None:
        require_finite(stored["features"], *_what_features_are(split))
        width = stored["features"].shape[1]
        if width != backbone.identity.traits.features and width != backbone.width(transform.size):
            raise ValueError(f"features have {width} columns, not {backbone.width(transform.size)}")

    schema = Schema({"features": Array("float32", (len(split), "width")), "unreadable": UNREADABLE}, check_values)
    arrays = context.artifacts.get("features", key, lambda: _extract(backbone, split, transform, context), schema)
    note_unreadable(arrays, split, context)
    return arrays["features"]


def features_key(backbone: Backbone, split: Split, transform: InputTransform) -> dict[str, str]:
    """Return the key of the artefact that holds the features: everything that they depend on."""
    return {
        "backbone": backbone.identity.fingerprint,
        "transform": transform.canonical,
        "split": split.fingerprint,
        "pooling": "pre-logits",
        "numerics": f"{torch.device(backbone.device).type} float32",
    }


def note_unreadable(arrays: Arrays, split: Split, context: RunContext) -> None:
    """Record in `context` how many images of the split could not be read, if `arrays` says that there were any."""
    if "unreadable" in arrays:
        context.unreadable.note(split.role, int(arrays["unreadable"]))


def _extract(backbone: Backbone, split: Split, transform: InputTransform, context: RunContext) -> Arrays:
    """Send every image of a split through the backbone, and return the features as arrays for an artefact."""
    keep_pages()
    parts: list[np.ndarray] = []
    unreadable: list[str] = []
    step = context.progress.step(f"{backbone.name}: features of {split.role}", total=len(split))
    with step as advance, torch.inference_mode():
        on_cpu = backbone.device == "cpu"
        for images, reasons in load_batches(
            split, transform, context.config.batch_size, on_cpu=on_cpu, threads=context.config.reader_threads
        ):
            unreadable += reasons
            # with too many unreadable images this ends in an error: then the other images are only read, to count them
            if len(unreadable) <= MAX_UNREADABLE_SHARE * len(split):
                if not on_cpu:
                    images = normalise(images.to(backbone.device, non_blocking=True), transform)
                parts.append(backbone.embed(images).float().cpu().numpy())
            advance(len(images))
    check_readable(unreadable, split)
    return with_unreadable_count({"features": _check_features(np.concatenate(parts), backbone, split)}, unreadable)


def check_readable(unreadable: Sequence[str], split: Split) -> None:
    """Raise BobError, which names the first ones, where more than 1% of a split's images cannot be read."""
    if len(unreadable) > MAX_UNREADABLE_SHARE * len(split):
        shown = ", ".join(unreadable[:3]) + (", ..." if len(unreadable) > 3 else "")
        count = f"{len(unreadable)} of {len(split)} images of {split.role}"
        raise BobError(f"{count} cannot be read, more than 1%: {shown}; repair or remove them")


def with_unreadable_count(arrays: dict[str, np.ndarray], unreadable: Sequence[str]) -> Arrays:
    """Add the number of images that could not be read to the arrays of an artefact, if there are any."""
    return {**arrays, "unreadable": np.array(len(unreadable))} if unreadable else arrays


def load_batches(
    split: Split, transform: InputTransform, size: int, *, on_cpu: bool = True, threads: int = 2
) -> Iterator[Batch]:
    """Yield the images of a split in order, in batches of `size` that threads prepare while the network runs.

    The memory layout is channels last, in which convolutions are faster. For a GPU the images stay uint8, since fewer
    bytes are then copied to it; for the CPU they are normalised here.
    """

    def prepare(start: int) -> Batch:
        images: list[np.ndarray] = []
        reasons: list[str] = []
        for index in range(start, min(start + size, len(split))):
            image, reason = image_or_grey(split, index, (transform.size, transform.size))
            reasons += [reason] * bool(reason)
            images.append(preprocess(image, transform).permute(1, 2, 0).numpy())
        # torch would start a second team of threads here, and each team would wait for the other; NumPy starts none
        pixels = np.stack(images)
        batch = torch.from_numpy(normalise_on_one_thread(pixels, transform) if on_cpu else pixels)
        return batch.permute(0, 3, 1, 2), reasons

    yield from prefetch(prepare, range(0, len(split), size), threads=threads)


def _what_features_are(split: Split) -> tuple[str, str, Sequence[str]]:
    """Return the arguments of `describe_not_finite` that name features and their images."""
    return "features", f"images of {split.role}", split.ids


def _check_features(features: np.ndarray, backbone: Backbone, split: Split) -> np.ndarray:
    """Return the features; raise BobError where some are not finite, or where all images have the same ones."""
    if problem := describe_not_finite(features, *_what_features_are(split)):
        raise NotFiniteError(f"{backbone.name}: {problem}; check the checkpoint and its input normalisation")
    # the same up to rounding, which depends on the size of a batch
    if len(features) > 1 and np.ptp(features, axis=0).max() <= 1e-5 * np.abs(features).max():
        raise BobError(
            f"{backbone.name}: every image of {split.role} gets the same features; "
            "check that the checkpoint fits the architecture"
        )
    return features
