"""Adversarial robustness: accuracy under projected gradient descent in pixel space (paper 5, Table 19)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from bob_gauntlet.datasets.loading import round_robin_indices
from bob_gauntlet.errors import BobError, MissingError
from bob_gauntlet.metrics.finite import finite_rows
from bob_gauntlet.protocols.heads import Classifier, HeadRecipe, classification_metrics
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.recipe import Measured

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset, Split
    from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class Adversarial:
    """Untargeted l-infinity PGD on head and backbone together: 20 steps of epsilon / 5, starting at the image itself.

    The attack changes the preprocessed image, in [0, 1] before normalisation, so that its cross-entropy rises. The
    prediction for the image of the last step counts. The paper states steps and step size; loss and start are the usual
    ones, since the paper does not state them. The head of each seed is attacked separately. Steps by the sign of the
    gradient magnify rounding errors: two memory layouts of EfficientNet-Lite0 gave different predictions for 1 of 32
    images.

    >>> Adversarial(epsilon_255=2).id
    'adversarial-linear-probe-eps2'
    """

    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {"images": 63}

    head: HeadRecipe = field(default_factory=LinearProbe)
    # largest change of a pixel value, in 255ths of the pixel range
    epsilon_255: int = 1
    steps: int = 20
    # "any": an image counts as wrong when its prediction is wrong after any step, and its attack ends there
    success: Literal["last", "any"] = "last"
    random_start: bool = False
    # how many test images are attacked, taken in rounds over the classes; None for all
    images: int | None = None

    @property
    def id(self) -> str:
        """The protocol id, for example `adversarial-linear-probe-eps1`; it ends in `-any` where `success` is "any"."""
        return f"adversarial-{self.head.id}-eps{self.epsilon_255}" + ("-any" if self.success == "any" else "")

    @property
    def input_size(self) -> int | None:
        """The input size of the head."""
        return self.head.input_size

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Yield top-1 in % under attack, and top-1 in % of the same images without it.

        An image whose logits are NaN or infinite counts as wrong; the details say how many such images there are.
        Raises MissingError where images have several labels, BobError where no gradient reaches the image.
        """
        if dataset.multi_label:
            raise MissingError(f"{dataset.name} has several labels per image; the attack needs one")
        test = dataset[self.head.reported_role(dataset)]
        if self.images is not None:
            test = test.take(
                round_robin_indices(test.targets, self.images), f"{self.images} in rounds over the classes"
            )
        heads = self.head.classifiers(backbone, dataset, context)
        step = context.progress.step(f"{backbone.name}: {self.id}", total=len(test) * self.steps * len(heads))
        with step as advance:
            results = [
                self._attack(backbone, test, head, context, seed, advance)
                for head, seed in zip(heads, context.seeds, strict=True)
            ]
        details = {
            **self.head.details(heads, context.seeds),
            **self._attack_details(len(test)),
            "zero_gradient_images": int(np.any([result["zero_gradient"] for result in results], axis=0).sum()),
        }
        for metric, kind in (("top1", "attacked"), ("top1_clean", "clean")):
            scores = [result[kind] for result in results]
            not_finite = int((~np.all([finite_rows(logits) for logits in scores], axis=0)).sum())
            more = {"not_finite_images": not_finite} if not_finite else {}
            measured = next(classification_metrics(scores, test.targets, test.ids, test.clusters, {**details, **more}))
            # accuracy under attack can fall below the chance level, so it is stated for clean images only
            kept_details = {
                name: value for name, value in measured.details.items() if name != "chance" or kind == "clean"
            }
            yield replace(measured, metric=metric, details=kept_details)

    def _attack(
        self,
        backbone: "Backbone",
        test: "Split",
        head: Classifier,
        context: "RunContext",
        seed: int,
        advance: Callable[[int], None],
    ) -> dict[str, np.ndarray]:
        """Attack the head of one seed and return arrays about the N test images by name.

        `clean` and `attacked` are the (N, C) logits without and under attack; `zero_gradient` (N,) is True where the
        gradient was zero at some step.
        """
        import torch

        from bob_gauntlet.engine.attacks import frozen_module, logits_without_gradient, pgd, pixel_batches

        module, logits_function = head.differentiable()
        generator = torch.Generator().manual_seed(seed)
        labels = torch.from_numpy(test.targets).to(backbone.device)
        parts: dict[str, list[np.ndarray]] = {"clean": [], "attacked": [], "zero_gradient": []}
        size = context.config.batch_size
        batches = pixel_batches(test, backbone.identity.input_transform(self.input_size), size)
        with frozen_module(module):
            for number, batch in enumerate(batches):
                images, batch_labels = batch.to(backbone.device), labels[number * size :][: len(batch)]
                parts["clean"].append(logits_without_gradient(logits_function, images).cpu().numpy())
                with _explain_missing_gradient(backbone):
                    result = pgd(
                        logits_function, images, batch_labels, self.epsilon_255 / 255, steps=self.steps,
                        step_size=self.epsilon_255 / 255 / 5, success=self.success, random_start=self.random_start,
                        generator=generator, advance=advance,
                    )  # fmt: skip
                parts["attacked"].append(result.logits.cpu().numpy())
                parts["zero_gradient"].append(result.zero_gradient.cpu().numpy())
        return {name: np.concatenate(part) for name, part in parts.items()}

    def _attack_details(self, count: int) -> dict[str, Any]:
        """Return how the attack was done on `count` images, for the provenance of both scores."""
        return {
            "epsilon_255": self.epsilon_255,
            "steps": self.steps,
            "step_size_255": self.epsilon_255 / 5,
            "success": self.success,
            "random_start": self.random_start,
            "images": count,
        }


@contextmanager
def _explain_missing_gradient(backbone: "Backbone") -> Iterator[None]:
    """Turn an error inside the block into a BobError that says why the backbone cannot be attacked.

    Before the block, the same forward pass has worked without a gradient, so an error inside it comes from
    differentiation. Out-of-memory errors pass unchanged.
    """
    import torch

    from bob_gauntlet.engine.attacks import NoGradientError

    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (NoGradientError, RuntimeError) as error:
        reason = str(error).partition("\n")[0] or "forward returns a result without a gradient"
        raise BobError(
            f"{backbone.name} cannot be attacked: no gradient of the loss reaches the image ({reason}); "
            "its forward has to use torch alone, without detach, no_grad or NumPy"
        ) from error
