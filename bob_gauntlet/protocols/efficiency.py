"""Efficiency of the backbone without a head: parameters, FLOPs, latency, throughput, peak memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from bob_gauntlet.protocols.recipe import Measured
from bob_gauntlet.runtime import devices

if TYPE_CHECKING:
    import torch

    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset
    from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class Efficiency:
    """Measurements of forward passes on random pixels in float32, with all CPU cores or one GPU.

    Times are medians of repeats after a warm-up. FLOPs count a multiply-accumulate as 2 and include attention.
    Throughput is that of the fastest of several batch sizes, and peak memory that of the same batch size. Times are
    compared only between measurements on the same device.
    """

    id: ClassVar[str] = "efficiency"
    version: ClassVar[int] = 2
    seeded: ClassVar[bool] = False
    # no other setting runs while times are measured
    exclusive: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {"input_size": 96, "batches": (8, 32), "repeats": 15}

    # side of the square input in pixels; None for the backbone's own size
    input_size: int | None = None
    batches: tuple[int, ...] = (1, 8, 32, 128, 256)
    warmup: int = 3
    repeats: int = 30

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Yield params (M), flops (GFLOPs), latency (ms), throughput (images/s), peak_memory (MiB)."""
        import torch

        from bob_gauntlet.engine import timing
        from bob_gauntlet.engine.allocator import keep_pages

        size = backbone.identity.input_transform(self.input_size).size
        pixels = torch.rand(max(self.batches), 3, size, size, generator=torch.Generator().manual_seed(0))
        pixels = pixels.to(backbone.device)
        step = context.progress.step(f"{backbone.name}: efficiency", total=len(self.batches) + 3)
        with step as advance, torch.inference_mode(), timing.all_cores(context.config.device, devices.cores()):
            yield Measured("params", backbone.identity.traits.params)
            yield Measured("flops", timing.flops(backbone, pixels[:1]) / 1e9, details={"input_size": size})
            advance(1)
            memory_by_batch = {
                batch: timing.peak_memory(partial(backbone.embed, pixels[:batch]), context.config.device)
                for batch in self.batches
            }
            keep_pages()
            advance(1)
            seconds = timing.measure_seconds(
                lambda: backbone.embed(pixels[:1]), context.config.device, warmup=self.warmup, repeats=self.repeats
            )
            latency, spread = timing.median_and_spread([1e3 * s for s in seconds])
            yield Measured(
                "latency", latency, details={"spread_ms": spread, "repeats": self.repeats, "load": devices.load()}
            )
            advance(1)
            rates = self._images_per_second(backbone, pixels, context.config.device, advance)
            best = max(rates, key=lambda batch: rates[batch])
            by_batch = {str(batch): rate for batch, rate in rates.items()}
            yield Measured("throughput", rates[best], details={"batch": best, "by_batch": by_batch})
            yield Measured("peak_memory", memory_by_batch[best], details={"batch": best})

    def _images_per_second(
        self, backbone: "Backbone", pixels: "torch.Tensor", device: str, advance: Callable[[int], None]
    ) -> dict[int, float]:
        """Return batch size -> images per second, for each of `batches`."""
        from bob_gauntlet.engine import timing

        rates = {}
        for batch in self.batches:
            images = pixels[:batch]
            seconds = timing.measure_seconds(
                partial(backbone.embed, images), device, warmup=1, repeats=max(3, self.repeats // 4)
            )
            rates[batch] = batch / timing.median_and_spread(seconds)[0]
            advance(1)
        return rates
