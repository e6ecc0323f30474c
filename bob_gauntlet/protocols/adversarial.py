"""Adversarial robustness: accuracy under projected gradient descent in pixel space (paper 5, Table 19)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from bob_gauntlet.datasets.loading import round_robin_indices
from bob_gauntlet.errors import BobError, MissingError
from bob_gauntlet.protocols.heads import Classifier, HeadRecipe, classification_metrics
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.recipe import Measured

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset, Split
    from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class Adversarial:
    """Untargeted l-infinity PGD on head and backbone together: 20 steps of a fifth of epsilon, from the image itself.

    The attack moves the preprocessed image in [0, 1], before normalisation, to raise its cross-entropy; the last
    iterate is judged. The paper gives steps and step size; loss and start are the usual ones, since it names none.
    Each seed's head is attacked by itself. An ascent by signs magnifies rounding: between two memory layouts of
    EfficientNet-Lite0 one prediction of 32 changed.

    >>> Adversarial(epsilon_255=2).id
    'adversarial-linear-probe-eps2'
    """

    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {"images": 126}

    head: HeadRecipe = field(default_factory=LinearProbe)
    # radius of the ball around an image, in 255ths of the pixel range
    epsilon_255: int = 1
    steps: int = 20
    # "any": wrong at any iterate is wrong, and the attack on that image ends there
    success: Literal["last", "any"] = "last"
    random_start: bool = False
    # of the test split, in rounds over the classes; None attacks all
    images: int | None = None

    @property
    def id(self) -> str:
        """`adversarial-linear-probe-eps1`; judged on any iterate it is another protocol, ending in `-any`."""
        return f"adversarial-{self.head.id}-eps{self.epsilon_255}" + ("-any" if self.success == "any" else "")

    @property
    def input_size(self) -> int | None:
        """The head's."""
        return self.head.input_size

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Top-1 in % under attack, and of the same images without it; BobError where no gradient reaches the image."""
        if dataset.multi_label:
            raise MissingError(f"{dataset.name} has several labels an image; the attack needs one")
        test = dataset[self.head.reported_role(dataset)]
        if self.images is not None:
            test = test.take(
                round_robin_indices(test.targets, self.images), f"{self.images} in rounds over the classes"
            )
        heads = self.head.classifiers(backbone, dataset, context)
        step = context.progress.step(f"{backbone.name}: {self.id}", total=len(test) * self.steps * len(heads))
        with step as advance:
            found = [
                self._seed(backbone, test, head, context, seed, advance)
                for head, seed in zip(heads, context.seeds, strict=True)
            ]
        stuck = int(np.any([seed["stuck"] for seed in found], axis=0).sum())
        details = {**self.head.details(heads, context.seeds), **self._details(len(test)), "zero_gradient_images": stuck}
        for metric, kind in (("top1", "attacked"), ("top1_clean", "clean")):
            scores = [seed[kind] for seed in found]
            measured = next(classification_metrics(scores, test.targets, test.ids, test.clusters, details))
            # what guessing gives is no bound under attack
            known = {name: value for name, value in measured.details.items() if name != "chance" or kind == "clean"}
            yield replace(measured, metric=metric, details=known)

    def _seed(
        self,
        backbone: "Backbone",
        test: "Split",
        head: Classifier,
        context: "RunContext",
        seed: int,
        advance: Callable[[int], None],
    ) -> dict[str, np.ndarray]:
        """Of one seed's head: logits (N, C) of `clean` and `attacked` images, and which (N,) were `stuck`."""
        import torch

        from bob_gauntlet.engine.attacks import frozen_module, logits_without_gradient, pgd, pixel_batches

        module, classifier = head.differentiable()
        generator = torch.Generator().manual_seed(seed)
        labels = torch.from_numpy(test.targets).to(backbone.device)
        parts: dict[str, list[np.ndarray]] = {"clean": [], "attacked": [], "stuck": []}
        batches = pixel_batches(test, backbone.identity.input_transform(self.input_size), context.config.batch_size)
        with frozen_module(module):
            for number, batch in enumerate(batches):
                images, truth = batch.to(backbone.device), labels[number * context.config.batch_size :][: len(batch)]
                parts["clean"].append(logits_without_gradient(classifier, images).cpu().numpy())
                with _differentiable(backbone):
                    found = pgd(
                        classifier, images, truth, self.epsilon_255 / 255, steps=self.steps,
                        step_size=self.epsilon_255 / 255 / 5, success=self.success, random_start=self.random_start,
                        generator=generator, advance=advance,
                    )  # fmt: skip
                parts["attacked"].append(found.logits.cpu().numpy())
                parts["stuck"].append(found.zero_gradient.cpu().numpy())
        whole = {name: np.concatenate(part) for name, part in parts.items()}
        if not np.isfinite(whole["attacked"]).all():
            raise BobError(f"{backbone.name}: its features are NaN or infinite under attack; check its forward")
        return whole

    def _details(self, count: int) -> dict[str, Any]:
        """What was done: provenance of both scores."""
        return {
            "epsilon_255": self.epsilon_255,
            "steps": self.steps,
            "step_size_255": self.epsilon_255 / 5,
            "success": self.success,
            "random_start": self.random_start,
            "images": count,
        }


@contextmanager
def _differentiable(backbone: "Backbone") -> Iterator[None]:
    """The forward pass has worked by now without a gradient: what fails inside is differentiation."""
    import torch

    from bob_gauntlet.engine.attacks import NoGradientError

    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (NoGradientError, RuntimeError) as error:
        reason = str(error).partition("\n")[0] or "forward gives a result without one"
        raise BobError(
            f"{backbone.name} cannot be attacked: no gradient of the loss reaches the image ({reason}); "
            "its forward has to stay in torch, without detach, no_grad or NumPy"
        ) from error
