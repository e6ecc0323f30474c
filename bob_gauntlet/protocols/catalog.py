"""Every protocol of the gauntlet, spelled once; the suites, `bob_gauntlet.evaluate` and the xdist scheduler read it.

A recipe's `id` is computed from its fields, and `scores/settings.py` says on which datasets it runs.
"""

from collections.abc import Mapping

from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.protocols.adversarial import Adversarial
from bob_gauntlet.protocols.calibration import Calibration
from bob_gauntlet.protocols.detection import Detection, OODDetection
from bob_gauntlet.protocols.efficiency import Efficiency
from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.knn import KNN
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.linear_probe_lars import LinearProbeLARS
from bob_gauntlet.protocols.low_shot import LowShot
from bob_gauntlet.protocols.ood import OOD
from bob_gauntlet.protocols.recipe import Recipe
from bob_gauntlet.protocols.retrieval import Retrieval

CLASSIFICATION: tuple[Recipe, ...] = (
    LinearProbe(),
    LinearProbeLARS(),
    FineTune(),
    LowShot(fraction=0.1),
    LowShot(fraction=0.01),
    KNN(),
)
"""Paper 3.1, Tables 8 and 9."""

DETECTION: tuple[Recipe, ...] = (Detection(mode="frozen"), Detection(mode="finetune"), Detection(mode="scratch"))
"""Paper 3.2, Tables 11 to 13: boxes and masks."""

OUT_OF_DISTRIBUTION: tuple[Recipe, ...] = (
    OOD(head=LinearProbe()),
    OOD(head=FineTune()),
    OODDetection(Detection(mode="frozen", masks=False)),
    OODDetection(Detection(mode="finetune", masks=False)),
)
"""Paper 3.3, Tables 14 and 15."""

RETRIEVAL: tuple[Recipe, ...] = (Retrieval(),)
"""Paper 3.4, Tables 16 to 18."""

ADVERSARIAL: tuple[Recipe, ...] = (
    Adversarial(head=LinearProbe(), epsilon_255=1),
    Adversarial(head=LinearProbe(), epsilon_255=2),
    Adversarial(head=FineTune(), epsilon_255=1),
    Adversarial(head=FineTune(), epsilon_255=2),
)
"""Paper 5, Table 19."""

CALIBRATION: tuple[Recipe, ...] = (Calibration(head=LinearProbe()), Calibration(head=FineTune()))
"""Paper 5, Table 10."""

EFFICIENCY: tuple[Recipe, ...] = (Efficiency(),)
"""Not in the paper: parameters, FLOPs, latency, throughput, memory."""

PROTOCOLS: Mapping[str, Recipe] = {
    recipe.id: recipe
    for recipes in (CLASSIFICATION, DETECTION, OUT_OF_DISTRIBUTION, RETRIEVAL, ADVERSARIAL, CALIBRATION, EFFICIENCY)
    for recipe in recipes
}
"""Protocol id -> recipe, in the order of the suites."""


def find_protocol(protocol_id: str) -> Recipe:
    """Return the recipe of a protocol id. Raises UsageError with the nearest ids where there is none.

    >>> find_protocol("adversarial-finetune-eps2").epsilon_255
    2
    """
    if protocol_id not in PROTOCOLS:
        raise UsageError(f"unknown protocol {protocol_id!r}{nearest(protocol_id, PROTOCOLS)}")
    return PROTOCOLS[protocol_id]
