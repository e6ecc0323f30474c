"""Linear probe on cached, standardised features: multinomial logistic regression solved to convergence.

Beside it stands the paper's own, `linear-probe-lars`, which trains on augmented images: another protocol, and the two
are never compared.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bob_gauntlet.protocols.heads import evaluate_classifiers
from bob_gauntlet.protocols.recipe import Measured, Reuse, canonical

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset
    from bob_gauntlet.engine.frozen.linear import LinearClassifier
    from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class LinearProbe:
    """Frozen features, one linear layer, no learning rate.

    The L2 strength is chosen on the validation split (a fifth of train where there is none), the head is solved again
    on train + validation, and the test split is read once. Expect about 88% on `photos` from EfficientNet-Lite0 at 96
    px, and about half of that from its random twin.
    """

    id: ClassVar[str] = "linear-probe"
    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    reuses: ClassVar[Reuse] = "features"
    mini: ClassVar[Mapping[str, Any]] = {"input_size": 96}

    # side of the input in pixels; None is the backbone's own
    input_size: int | None = None
    # L2 strengths, of the mean loss: three to a decade
    strengths: tuple[float, ...] = tuple(float(f"{10 ** (1 - i / 3):.4g}") for i in range(21))

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Top-1 and top-5 in %; mean AUC in % where images have several labels."""
        yield from evaluate_classifiers(self, backbone, dataset, context)

    def classifiers(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> "list[LinearClassifier]":
        """The probe of each seed, fitted on train + validation; from the artefacts where it was fitted before."""
        from bob_gauntlet.engine.frozen.labelled_features import load_labelled_features
        from bob_gauntlet.engine.frozen.linear import LinearClassifier
        from bob_gauntlet.engine.frozen.probe import fit_probe

        data, canonical_form = load_labelled_features(backbone, dataset, self.input_size, context), canonical(self)
        return [
            LinearClassifier(
                backbone,
                dataset,
                self.input_size,
                fit_probe(data, self.strengths, seed, context, canonical_form),
                seed,
                canonical_form,
            )
            for seed in context.seeds
        ]

    def details(self, classifiers: Sequence[Any], seeds: tuple[int, ...]) -> dict[str, Any]:
        """How the strengths were chosen."""
        probes = [classifier.probe for classifier in classifiers]
        return {
            "strength": [found.head.strength for found in probes],
            "strength_at_edge": any(found.at_edge for found in probes),
            "validation": [max(found.validation) for found in probes],
            "selection": "best validation score along the path, then refitted on train + validation",
            "converged": all(found.head.converged for found in probes),
            "seeds": list(seeds),
        }

    def reported_role(self, dataset: "Dataset") -> str:
        """`test`."""
        return "test"
