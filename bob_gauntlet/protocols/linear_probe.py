"""Linear probe on cached, standardised features: multinomial logistic regression solved to convergence.

The paper's own linear probe is another protocol, `linear-probe-lars`, which trains on augmented images. Scores of the
two protocols are never compared.
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
    """A linear layer on frozen features, fitted by convex optimisation without a learning rate.

    The L2 strength is chosen on the validation split (a fifth of train where there is none). Then the head is fitted
    again on train + validation, and it is tested once. Expect about 88% on `photos` from EfficientNet-Lite0 at 96 px,
    and about half of that from the same network with random weights.
    """

    id: ClassVar[str] = "linear-probe"
    version: ClassVar[int] = 2
    seeded: ClassVar[bool] = True
    reuses: ClassVar[Reuse] = "features"
    mini: ClassVar[Mapping[str, Any]] = {"input_size": 96}

    # side of the square input in pixels; None for the backbone's own size
    input_size: int | None = None
    # strengths of the L2 penalty on top of the mean loss, three per decade
    strengths: tuple[float, ...] = tuple(float(f"{10 ** (1 - i / 3):.4g}") for i in range(21))

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Yield top-1 and top-5 in %, or mean AUC in % where images have several labels."""
        yield from evaluate_classifiers(self, backbone, dataset, context)

    def classifiers(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> "list[LinearClassifier]":
        """Return the probe of each seed, fitted on train + validation.

        A probe that was fitted before is read from its artefact.
        """
        from bob_gauntlet.engine.frozen.labelled_features import load_labelled_features
        from bob_gauntlet.engine.frozen.linear import LinearClassifier
        from bob_gauntlet.engine.frozen.probe import fit_probe

        data, canonical_form = load_labelled_features(backbone, dataset, self.input_size, context), canonical(self)
        probes = [fit_probe(data, self.strengths, seed, context, canonical_form) for seed in context.seeds]
        return [
            LinearClassifier(backbone, dataset, self.input_size, probe, seed)
            for probe, seed in zip(probes, context.seeds, strict=True)
        ]

    def details(self, classifiers: Sequence[Any], seeds: tuple[int, ...]) -> dict[str, Any]:
        """Return how the L2 strength of each seed was chosen, and how well its head was solved."""
        probes = [classifier.probe for classifier in classifiers]
        return {
            "strength": [probe.head.strength for probe in probes],
            "strength_at_edge": any(probe.at_edge for probe in probes),
            "validation": [max(probe.validation) for probe in probes],
            "selection": "best validation score along the path, then refitted on train + validation",
            "converged": all(probe.converged for probe in probes),
            # bounds of how much the objective exceeds its minimum, as a share of it
            "objective_gap": [probe.head.gap / probe.head.objective for probe in probes],
            "gradient_norm": [probe.head.gradient_norm for probe in probes],
            "unconverged_strengths": sorted({strength for probe in probes for strength in probe.unconverged}),
            "seeds": list(seeds),
        }

    def reported_role(self, dataset: "Dataset") -> str:
        """Return `test`."""
        return "test"
