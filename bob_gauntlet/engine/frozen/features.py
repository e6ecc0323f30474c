"""Features of a split: extracted once, cached by what they are features of, read ever after."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.images import MAX_UNREADABLE_SHARE
from bob_gauntlet.engine.allocator import keep_pages
from bob_gauntlet.engine.transforms import image_or_grey, normalise, normalise_on_one_thread, preprocess
from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.artifacts import Arrays
from bob_gauntlet.runtime.context import RunContext

Batch = tuple[torch.Tensor, list[str]]
"""Images, and why some of them are grey: what could not be read."""


def features(backbone: Backbone, split: Split, transform: InputTransform, context: RunContext) -> np.ndarray:
    """Pooled pre-logits features of every image of a split: (N, D) float32.

    They are kept under backbone fingerprint, input transform, split fingerprint, pooling and numerics, so that a
    second call makes no forward pass. Raises BobError where more than 1% of the images cannot be read or features are
    not finite or all the same.
    """
    key = features_key(backbone, split, transform)
    found = context.artifacts.get("features", key, lambda: _extract(backbone, split, transform, context))
    note_unreadable(found, split, context)
    return found["features"]


def features_key(backbone: Backbone, split: Split, transform: InputTransform) -> dict[str, str]:
    """What features depend on: the key of their artefact."""
    return {
        "backbone": backbone.identity.fingerprint,
        "transform": transform.canonical,
        "split": split.fingerprint,
        "pooling": "pre-logits",
        "numerics": f"{torch.device(backbone.device).type} float32",
    }


def note_unreadable(found: Arrays, split: Split, context: RunContext) -> None:
    """Tell the run how many images of a split were grey, since they could not be read."""
    if "unreadable" in found:
        context.unreadable[split.role] = int(found["unreadable"])


def _extract(backbone: Backbone, split: Split, transform: InputTransform, context: RunContext) -> Arrays:
    keep_pages()
    parts: list[np.ndarray] = []
    unreadable: list[str] = []
    step = context.progress.step(f"{backbone.name}: features of {split.role}", total=len(split))
    with step as advance, torch.inference_mode():
        on_cpu = backbone.device == "cpu"
        for images, broken in load_batches(
            split, transform, context.batch_size, on_cpu=on_cpu, threads=context.readers
        ):
            unreadable += broken
            # beyond what may be unreadable the rest is only counted
            if len(unreadable) <= MAX_UNREADABLE_SHARE * len(split):
                if not on_cpu:
                    images = normalise(images.to(backbone.device, non_blocking=True), transform)
                parts.append(backbone.embed(images).float().cpu().numpy())
            advance(len(images))
    check_readable(unreadable, split)
    return with_unreadable_count({"features": _checked(np.concatenate(parts), backbone, split)}, unreadable)


def check_readable(unreadable: Sequence[str], split: Split) -> None:
    """BobError where more than 1% of a split's images cannot be read; the first are named."""
    if len(unreadable) > MAX_UNREADABLE_SHARE * len(split):
        shown = ", ".join(unreadable[:3]) + (", ..." if len(unreadable) > 3 else "")
        count = f"{len(unreadable)} of {len(split)} images of {split.role}"
        raise BobError(f"{count} cannot be read, more than 1%: {shown}; mend or remove them")


def with_unreadable_count(arrays: dict[str, np.ndarray], unreadable: Sequence[str]) -> Arrays:
    """Arrays that are to be kept, with the number of images that could not be read, if there are any."""
    return {**arrays, "unreadable": np.array(len(unreadable))} if unreadable else arrays


def load_batches(
    split: Split, transform: InputTransform, size: int, *, on_cpu: bool = True, threads: int = 2
) -> Iterator[Batch]:
    """Batches in order, prepared by threads while the network runs: PIL works outside Python's lock.

    Channels lie last in memory, as convolutions like them. For a GPU they stay uint8, which is less to move; for the
    CPU they are normalised here.
    """

    def prepare(start: int) -> Batch:
        images: list[np.ndarray] = []
        broken: list[str] = []
        for index in range(start, min(start + size, len(split))):
            image, reason = image_or_grey(split, index, (transform.size, transform.size))
            broken += [reason] * bool(reason)
            images.append(preprocess(image, transform).permute(1, 2, 0).numpy())
        # NumPy's threads are none: torch's would be a second team beside the network's, each waiting for the other
        pixels = np.stack(images)
        batch = torch.from_numpy(normalise_on_one_thread(pixels, transform) if on_cpu else pixels)
        return batch.permute(0, 3, 1, 2), broken

    starts = iter(range(0, len(split), size))
    with ThreadPoolExecutor(max_workers=threads) as pool:
        waiting: list[Future[Batch]] = [pool.submit(prepare, start) for start in islice(starts, 2 * threads)]
        while waiting:
            batch = waiting.pop(0).result()
            waiting += [pool.submit(prepare, start) for start in islice(starts, 1)]
            yield batch


def _checked(found: np.ndarray, backbone: Backbone, split: Split) -> np.ndarray:
    bad = int((~np.isfinite(found).all(axis=1)).sum())
    if bad:
        raise BobError(
            f"{backbone.name}: the features of {bad} of {len(found)} images of {split.role} are NaN or infinite; "
            "check the checkpoint and its input normalisation"
        )
    # equal up to rounding, which differs with the size of a batch
    if len(found) > 1 and np.ptp(found, axis=0).max() <= 1e-5 * np.abs(found).max():
        raise BobError(
            f"{backbone.name}: every image of {split.role} gets the same features; "
            "check that the checkpoint fits the architecture"
        )
    return found
