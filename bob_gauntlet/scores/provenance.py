"""The schema of `Score.provenance`, which records how a score was measured. No key of it is part of an identity."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast


class ArtifactRefDict(TypedDict):
    """The reference to an artefact: its kind and key, from which `Artifacts` computes the file."""

    kind: str
    key: Mapping[str, Any]


class MeanOf(TypedDict):
    """One of several runs that a baseline row averages."""

    backbone: str
    backbone_fingerprint: str
    value: float


class KernelTimes(TypedDict, total=False):
    """Milliseconds of a calibration kernel, which ran once in every round of a timing."""

    quickest_ms: float
    median_ms: float


class Timing(TypedDict, total=False):
    """Measurements of how busy the machine was while calls were timed; `quietness` decides whether it was quiet."""

    repeats: int  # timed rounds; the calls take turns in each
    threads: int  # torch's threads meanwhile, on a CPU
    spread: float  # half the interquartile range of the repeats / their median; the largest of several timed calls
    load: float | None  # threads of all processes that wanted a core, mean over the rounds
    cores: int  # of the machine
    cpu_share: float | None  # processor time of this process / (wall time x threads); None on a GPU
    matrix_product: KernelTimes
    memory_pass: KernelTimes


class LeakDict(TypedDict):
    """Images of a role that are in another role too, as `datasets.leaks.Leak` writes them; `names` are some of them."""

    role: str
    other: str
    count: int
    total: int
    names: list[tuple[str, str]]


class CurveDict(TypedDict):
    """A training curve: one entry per validated epoch. None stands for a number that is not finite."""

    epoch: list[int]
    validation: list[float | None]
    loss: list[float | None]


class ReliabilityDict(TypedDict):
    """Confidence, accuracy and number of images of each bin of confidences."""

    confidence: list[float]
    accuracy: list[float]
    count: list[float]


class Provenance(TypedDict, total=False):
    """Every key that a reader of scores may look for, and when it is there; protocols add keys of their own details.

    All values are plain types, ready for JSON. `Score.from_dict` refuses a record with other types.
    """

    # every measured score
    metrics: list[str]  # all metrics that the setting gave in this run; a stored setting is complete with these
    protocol: dict[str, Any]  # canonical form of the recipe
    backbone: dict[str, Any]  # what identifying it found: resolved name, licence, checkpoint, digest, "partial"
    started: str  # ISO 8601 with time zone
    seconds: float  # wall time of the whole setting
    threads: int | None  # torch's threads on a CPU
    command: str  # as typed
    versions: dict[str, str]  # package -> version
    commit: str  # of the calling folder's git checkout, "" without one
    # where it applies
    # role -> images that could not be read and were replaced by grey ones; old trainings state the number of train
    unreadable_images: dict[str, int] | int
    not_finite_images: int  # attacked images whose logits are NaN or infinite: they count as wrong
    leaks: list[LeakDict]
    # metrics that are a mean over examples, or state their error otherwise
    n: int  # examples
    stderr: float  # standard error in the metric's unit; absent with fewer than two clusters
    stderr_how: str  # "over 40 clusters", "1000 bootstrap draws of clusters"
    examples: ArtifactRefDict  # values of each example
    chance: float  # what guessing gives, in the metric's unit
    # protocols that are seeded or choose hyper-parameters
    seeds: list[int]
    by_seed: list[float]  # value of each seed, with more than one
    seed_std: float
    selection: str  # how hyper-parameters were chosen
    validation: list[float | None]  # validation score of what was chosen, in %, a seed each
    curve: CurveDict  # training curve of seed 0
    runs: list[dict[str, Any]]  # the runs of a grid
    # calibration
    reliability: ReliabilityDict
    temperature: list[float]
    # detection
    detections: ArtifactRefDict
    pictures: ArtifactRefDict
    by_class: dict[str, float | None]
    # efficiency
    timing: Timing
    attempts: int  # measurements until the machine was quiet
    reference: str  # of a ratio: the network whose time is 1
    reference_ms: float  # processor time on a CPU
    backbone_ms: float
    batch: int  # images of one timed call
    # rows of baseline folders
    mean_of: Sequence[MeanOf]  # the seeds that a row averages
    pretraining: dict[str, Any]  # recipe of a network of benchmarks/pretrain.py
    checkpoint: str  # of a published figure: the weights that it was measured with
    erratum: str  # of a published figure: what is believed wrong with it
    becomes: str  # the backbone that the figure belongs to


def uneven_columns(provenance: Provenance) -> str:
    """Return which of the tables in a provenance has columns of different lengths, or no bin; "" for none.

    >>> uneven_columns({"curve": {"epoch": [1, 2], "validation": [50.0], "loss": [0.1, 0.2]}})
    'provenance.curve has columns of different lengths'
    """
    tables: Mapping[str, Mapping[str, Sequence[Any]]] = {
        name: table for name in ("curve", "reliability") if (table := cast(Any, provenance).get(name)) is not None
    }
    for name, table in tables.items():
        if len(set(map(len, table.values()))) > 1:
            return f"provenance.{name} has columns of different lengths"
    return "provenance.reliability has no bin" if "reliability" in tables and not tables["reliability"]["count"] else ""
