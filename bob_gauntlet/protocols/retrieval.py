"""Image retrieval on frozen features (paper 3.4, Tables 16-18; evaluation as in Radenovic et al., CVPR 2018)."""

from collections.abc import Callable, Iterator, Mapping
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
    """Ranking of all gallery images for each query by the dot product of L2-normalised features.

    mAP is the mean over queries of the trapezoidal average precision, as in published results. Recall@k is the share of
    all relevant images that are among the first k, so it is at most k / their number. With `fidelity="paper"`, the
    reciprocal rank is computed before junk images are removed, and averaged over all queries, as in the original code.
    Expect mAP near 68 on `photos-instances` from EfficientNet-Lite0 at 96 px, and near 33 from the same network with
    random weights.
    """

    id: ClassVar[str] = "retrieval"
    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = False
    reuses: ClassVar[Reuse] = "features"
    mini: ClassVar[Mapping[str, Any]] = {"input_size": 96}

    # side of the square input in pixels; None for the backbone's own size
    input_size: int | None = None
    average_precision: Literal["trapezoid", "step"] = "trapezoid"
    fidelity: Literal["sound", "paper"] = "sound"

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Yield mAP in %, and MRR and Recall@1, 5, 10 as fractions.

        Raises BobError where no query has a relevant gallery image.
        """
        from bob_gauntlet.engine.frozen.features import features
        from bob_gauntlet.engine.frozen.neighbours import l2_normalise
        from bob_gauntlet.metrics import retrieval as metrics

        queries, gallery = dataset["query"], dataset["gallery"]
        transform = backbone.identity.input_transform(self.input_size)
        query_features, gallery_features = (
            l2_normalise(features(backbone, split, transform, context)).numpy() for split in (queries, gallery)
        )
        relevance = dataset.relevance or metrics.relevance_from_targets(queries.targets, gallery.targets)
        kept_queries = np.array([index for index, (positives, _) in enumerate(relevance) if len(positives)])
        if not len(kept_queries):
            raise BobError(f"{dataset.name}: no query has a relevant gallery image; raise --bob-limit")

        def rank(*, skip_junk: bool = True) -> list[np.ndarray]:
            with context.progress.step(f"{backbone.name}: rank {dataset.name}", total=len(queries)) as advance:
                return metrics.ranks_of_relevant(
                    query_features, gallery_features, relevance, skip_junk=skip_junk, device=context.config.device,
                    advance=advance,
                )  # fmt: skip

        counts = {
            "queries": len(queries),
            "gallery": len(gallery),
            "queries_without_relevant": len(queries) - len(kept_queries),
        }
        for metric, (indices, values) in self._values_by_metric(rank, kept_queries).items():
            ids, clusters = ([names[i] for i in indices] for names in (queries.ids, queries.clusters))
            yield Measured(metric, float(np.mean(values)), np.array(values), ids, clusters, counts)

    def _values_by_metric(
        self, rank: Callable[..., list[np.ndarray]], kept_queries: np.ndarray
    ) -> dict[str, tuple[np.ndarray, list[float]]]:
        """Return metric -> the indices of the queries that count, and the value of each of them.

        `kept_queries` are the indices of the queries that have a relevant image. `rank` returns for each query the
        ranks of its relevant images; with `skip_junk=False`, junk images count in the ranks.
        """
        from bob_gauntlet.metrics import retrieval as metrics

        all_ranks = rank()
        ranks = [all_ranks[index] for index in kept_queries]
        mrr_queries, mrr_ranks = kept_queries, ranks
        if self.fidelity == "paper":
            mrr_ranks = rank(skip_junk=False)
            mrr_queries = np.arange(len(mrr_ranks))
        return {
            "map": (kept_queries, [100 * metrics.average_precision(r, self.average_precision) for r in ranks]),
            "mrr": (mrr_queries, [metrics.reciprocal_rank(r) for r in mrr_ranks]),
            **{f"recall{k}": (kept_queries, [metrics.recall_at(r, k) for r in ranks]) for k in (1, 5, 10)},
        }
