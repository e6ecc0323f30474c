"""Efficiency of the backbone without a head: parameters, FLOPs, times, peak memory, and times beside a reference."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.protocols.recipe import Measured
from bob_gauntlet.runtime import devices
from bob_gauntlet.scores.quietness import signs_of_noise

if TYPE_CHECKING:
    import torch

    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset
    from bob_gauntlet.engine.timing import Rounds
    from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class Efficiency:
    """Measurements of forward passes on random pixels in float32.

    What is ranked are ratios: the time of the backbone over that of a reference network on the same pixels, medians
    over rounds in which the two take turns with two calibration kernels. On a CPU they run on one thread and processor
    time counts, so that neither the machine's speed and number of cores nor another process's time is in the ratio. On
    a GPU wall time counts. The kernels, the spread of the repeats, the load and this process's share of the core say
    whether the machine was quiet; where it was not, the ratios are not ranked (`scores.quietness`).

    Latency and throughput are medians with all CPU cores or one GPU, throughput that of the fastest of several batch
    sizes, and peak memory that of the same batch size. FLOPs count a multiply-accumulate as 2 and include attention.
    """

    id: ClassVar[str] = "efficiency"
    version: ClassVar[int] = 3
    seeded: ClassVar[bool] = False
    # no other setting runs while times are measured
    exclusive: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {"input_size": 96, "batches": (8, 32), "repeats": 15, "ratio_batch": 8}

    # side of the square input in pixels; None for the backbone's own size
    input_size: int | None = None
    batches: tuple[int, ...] = (1, 8, 32, 128, 256)
    warmup: int = 3
    repeats: int = 30
    # timm architecture that gets random weights, and whose time is 1
    reference: str = "resnet18"
    # images of the batch whose time is compared with the reference's
    ratio_batch: int = 32
    # how often the ratios are measured, at most, until the machine was quiet
    attempts: int = 3

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Yield params (M), flops (GFLOPs), latency (ms), throughput (images/s), peak_memory (MiB), and both ratios."""
        import torch

        from bob_gauntlet.engine import timing

        device = context.config.device
        size = backbone.identity.input_transform(self.input_size).size
        most = max(*self.batches, self.ratio_batch)
        pixels = torch.rand(most, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
        step = context.progress.step(f"{backbone.name}: efficiency", total=len(self.batches) + 4)
        with step as advance, torch.inference_mode():
            yield Measured("params", backbone.identity.traits.params)
            yield Measured("flops", timing.flops(backbone, pixels[:1]) / 1e9, details={"input_size": size})
            advance(1)
            with timing.use_threads(devices.cores(), device):
                yield from self._times(backbone, pixels, device, advance)
            with timing.use_threads(1, device):
                # a run that is cut short is never ranked, so that noise does not matter
                is_cut = context.config.limit is not None or context.config.max_steps is not None
                yield from self._ratios(backbone, pixels, device, 1 if is_cut else self.attempts)
                advance(1)

    def _times(
        self, backbone: "Backbone", pixels: "torch.Tensor", device: str, advance: Callable[[int], None]
    ) -> Iterator[Measured]:
        """Yield latency, throughput and peak memory, with all cores."""
        from bob_gauntlet.engine import timing
        from bob_gauntlet.engine.allocator import keep_pages

        memory_by_batch = {b: timing.peak_memory(partial(backbone.embed, pixels[:b]), device) for b in self.batches}
        keep_pages()
        advance(1)
        networks = {"backbone": backbone}
        single = self._take_turns(networks, pixels[:1], device, self.repeats)
        advance(1)
        by_batch = {}
        for batch in self.batches:
            by_batch[batch] = self._take_turns(networks, pixels[:batch], device, max(3, self.repeats // 4))
            advance(1)
        rates = {batch: batch / median(rounds.wall["backbone"]) for batch, rounds in by_batch.items()}
        best = max(rates, key=lambda batch: rates[batch])
        series = [single.wall["backbone"], by_batch[best].wall["backbone"]]
        quietness = {"timing": timing.describe_quietness([single, by_batch[best]], series, device)}
        yield Measured("latency", 1e3 * median(single.wall["backbone"]), details=quietness)
        rate_details = {"batch": best, "by_batch": {str(batch): rate for batch, rate in rates.items()}, **quietness}
        yield Measured("throughput", rates[best], details=rate_details)
        yield Measured("peak_memory", memory_by_batch[best], details={"batch": best})

    def _ratios(
        self, backbone: "Backbone", pixels: "torch.Tensor", device: str, most_attempts: int
    ) -> Iterator[Measured]:
        """Yield the time of one image and of a batch, in times the reference's, on one thread of a CPU.

        Where the machine was not quiet both are timed again, at most `most_attempts` times in all.
        """
        from bob_gauntlet.engine import timing

        networks = {"reference": self._build_reference(device), "backbone": backbone}
        batches = {"latency_ratio": 1, "batch_ratio": self.ratio_batch}
        attempts, quiet = 0, False
        while not quiet and attempts < most_attempts:
            rounds = {m: self._take_turns(networks, pixels[:b], device, self.repeats) for m, b in batches.items()}
            times = {metric: of_metric.own_time(device) for metric, of_metric in rounds.items()}
            ratios = {m: [a / b for a, b in zip(t["backbone"], t["reference"], strict=True)] for m, t in times.items()}
            record = timing.describe_quietness(list(rounds.values()), list(ratios.values()), device)
            attempts, quiet = attempts + 1, not signs_of_noise(record)
        shared = {"reference": f"{self.reference} with random weights", "threads": record["threads"], "timing": record}
        for metric, batch in batches.items():
            details = {
                **shared,
                "attempts": attempts,
                "batch": batch,
                "reference_ms": 1e3 * median(times[metric]["reference"]),
                "backbone_ms": 1e3 * median(times[metric]["backbone"]),
            }
            yield Measured(metric, median(ratios[metric]), details=details)

    def _build_reference(self, device: str) -> "Backbone":
        """Build the network whose time is 1; nothing is downloaded."""
        import torch

        spec = BackboneSpec(name="reference", text=self.reference, scheme="random", target=self.reference)
        with torch.inference_mode(mode=False):
            return load(spec, device)

    def _take_turns(
        self, networks: "Mapping[str, Backbone]", images: "torch.Tensor", device: str, repeats: int
    ) -> "Rounds":
        """Time the forward passes of networks that take turns with the calibration kernels."""
        from bob_gauntlet.engine import timing

        calls = {name: partial(network.embed, images) for name, network in networks.items()}
        alone = len(images) == 1
        return timing.take_turns(
            {**timing.calibration_kernels(device), **calls},
            device,
            warmup=self.warmup if alone else 1,
            repeats=repeats,
            untimed=int(alone),
        )
