"""Image retrieval on frozen features (paper 3.4, Tables 16-18; evaluation as in Radenovic et al., CVPR 2018)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from bob_gauntlet.errors import BobError
from bob_gauntlet.protocols.recipe import Measured, Reuse

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset
    from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class Retrieval:
    """L2-normalised features, dot product, every gallery image ranked for every query.

    mAP is the mean over queries of the trapezoidal average precision, as the published numbers are; Recall@k is what
    is found of all relevant images, so its ceiling is k / their number. `fidelity="paper"` takes the reciprocal rank
    before junk is removed, and over all queries, as the original code did. Expect mAP near 68 on `photos-instances`
    from EfficientNet-Lite0 at 96 px and near 33 from its random twin.
    """

    id: ClassVar[str] = "retrieval"
    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = False
    reuses: ClassVar[Reuse] = "features"
    mini: ClassVar[Mapping[str, Any]] = {"input_size": 96}

    # side of the input in pixels; None is the backbone's own
    input_size: int | None = None
    average_precision: Literal["trapezoid", "step"] = "trapezoid"
    fidelity: Literal["sound", "paper"] = "sound"

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """mAP in %; MRR and Recall@1, 5, 10 as fractions."""
        from bob_gauntlet.engine.frozen.features import features
        from bob_gauntlet.engine.frozen.neighbours import l2_normalise
        from bob_gauntlet.metrics import retrieval as metrics

        queries, gallery = dataset["query"], dataset["gallery"]
        transform = backbone.identity.input_transform(self.input_size)
        q, g = (l2_normalise(features(backbone, split, transform, context)).numpy() for split in (queries, gallery))
        relevance = dataset.relevance or metrics.relevance_from_targets(queries.targets, gallery.targets)
        kept = np.array([index for index, (positives, _) in enumerate(relevance) if len(positives)])
        if not len(kept):
            raise BobError(f"{dataset.name}: no query has a relevant gallery image; raise --bob-limit")

        def ranked(*, skip_junk: bool = True) -> list[np.ndarray]:
            with context.progress.step(f"{backbone.name}: rank {dataset.name}", total=len(q)) as advance:
                return metrics.ranks_of_relevant(
                    q, g, relevance, skip_junk=skip_junk, device=context.config.device, advance=advance
                )

        ranks = ranked()
        found = [ranks[index] for index in kept]
        first = ranked(skip_junk=False) if self.fidelity == "paper" else found
        everyone = np.arange(len(queries)) if self.fidelity == "paper" else kept
        per_query = {
            "map": (kept, [100 * metrics.average_precision(r, self.average_precision) for r in found]),
            "mrr": (everyone, [metrics.reciprocal_rank(r) for r in first]),
            **{f"recall{k}": (kept, [metrics.recall_at(r, k) for r in found]) for k in (1, 5, 10)},
        }
        counts = {
            "queries": len(queries),
            "gallery": len(gallery),
            "queries_without_relevant": len(queries) - len(kept),
        }
        for metric, (indices, values) in per_query.items():
            ids, clusters = ([names[i] for i in indices] for names in (queries.ids, queries.clusters))
            yield Measured(metric, float(np.mean(values)), np.array(values), ids, clusters, counts)
