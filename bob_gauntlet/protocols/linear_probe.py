"""Linear probe on cached, standardised features: multinomial logistic regression solved to convergence.

Beside it stands the paper's own, `linear-probe-lars`, which trains on augmented images: another protocol, and the two
are never compared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bob_gauntlet.protocols.recipe import Measured, canonical

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset, Split
    from bob_gauntlet.engine.probe import Probe
    from bob_gauntlet.run import Run


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
    mini: ClassVar[Mapping[str, Any]] = {"input_size": 96}

    # side of the input in pixels; None is the backbone's own
    input_size: int | None = None
    # L2 strengths, of the mean loss: three to a decade
    strengths: tuple[float, ...] = tuple(float(f"{10 ** (1 - i / 3):.4g}") for i in range(21))

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", run: "Run") -> Iterator[Measured]:
        """Top-1 and top-5 in %; mean AUC in % where images have several labels."""
        test = dataset["test"]
        probes = self.probes(backbone, dataset, run)
        scores = self.scores(probes, backbone, test, run)
        yield from judged(scores, test.targets, test.ids, test.clusters, chosen(probes, run.seeds))

    def probes(self, backbone: "Backbone", dataset: "Dataset", run: "Run") -> "list[Probe]":
        """The probe of each seed, fitted on train + validation; from the artefacts where it was fitted before."""
        from bob_gauntlet.engine.labelled import labelled
        from bob_gauntlet.engine.probe import probe

        data = labelled(backbone, dataset, self.input_size, run)
        return [probe(data, self.strengths, seed, run, canonical(self)) for seed in run.seeds]

    def held_out(
        self, probes: "list[Probe]", backbone: "Backbone", dataset: "Dataset", run: "Run"
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """(V, C) logits and targets of each seed's validation examples, by heads that never saw them."""
        from bob_gauntlet.engine.labelled import labelled
        from bob_gauntlet.engine.probe import held_out

        data = labelled(backbone, dataset, self.input_size, run)
        pairs = zip(probes, run.seeds, strict=True)
        return [held_out(data, found, seed, run, canonical(self)) for found, seed in pairs]

    def scores(self, probes: "list[Probe]", backbone: "Backbone", split: "Split", run: "Run") -> list[np.ndarray]:
        """(N, C) logits of each probe on a split, whose features are extracted once."""
        from bob_gauntlet.engine.features import features

        found = features(backbone, split, backbone.ticket.input_transform(self.input_size), run)
        return [probe.head.scores(found) for probe in probes]


def judged(
    scores: list[np.ndarray],
    targets: np.ndarray,
    ids: tuple[str, ...],
    clusters: tuple[str, ...],
    details: Mapping[str, Any],
) -> Iterator[Measured]:
    """The metrics of (N, C) scores of each seed: means over seeds, with their spread.

    Per-example values are means over the seeds too.
    """
    from bob_gauntlet.metrics.classification import in_top_k, label_aucs

    classes = scores[0].shape[1]
    if targets.ndim == 2:
        aucs = [100 * label_aucs(s, targets) for s in scores]
        skipped = int(np.isnan(aucs[0]).sum())
        values = [float(np.nanmean(auc)) for auc in aucs]
        extra = {**details, **_spread(values), "chance": 50.0, "labels_with_one_value": skipped}
        yield Measured("mean_auc", float(np.mean(values)), details=extra)
        return
    for k in (1, 5):
        if k < classes:
            right = np.stack([100.0 * in_top_k(s, targets, k) for s in scores])
            extra = {**details, **_spread(right.mean(axis=1).tolist()), "chance": 100.0 * k / classes}
            yield Measured(f"top{k}", float(right.mean()), right.mean(axis=0), ids, clusters, extra)


def _spread(values: list[float]) -> dict[str, Any]:
    """Each seed's value and their standard deviation, where there is more than one."""
    if len(values) < 2:
        return {}
    return {"by_seed": values, "seed_std": float(np.std(values, ddof=1))}


def chosen(probes: "list[Probe]", seeds: tuple[int, ...]) -> dict[str, Any]:
    """How the heads were chosen: provenance of every score that rests on them."""
    return {
        "strength": [found.head.strength for found in probes],
        "strength_at_edge": any(found.at_edge for found in probes),
        "validation": [max(found.validation) for found in probes],
        "selection": "best validation score along the path, then refitted on train + validation",
        "converged": all(found.head.converged for found in probes),
        "seeds": list(seeds),
    }
