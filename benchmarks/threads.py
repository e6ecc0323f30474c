"""Time one setting with one thread and with several, whose waiting differs, alone and beside a busy process.

    python benchmarks/threads.py [--setting detection-frozen@photo-scenes] [--max-steps 20] [--repeats 3]

Each side has a process of its own, since libraries read how threads wait when they are loaded. One thread also reads
the images; several threads have a loader process beside them, as in a serial session. The sides take turns, and all of
them start with an empty cache. A ratio above 1 says that a side takes longer than one thread.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import describe_load, format_spread, ratios, run_in_processes, serve
from bob_gauntlet.runtime.limits import usable_cores
from bob_gauntlet.runtime.threads import COUNTS, SPINS, WAITING

SEVERAL = max(2, usable_cores())

SIDES: Mapping[str, tuple[int, Mapping[str, str]]] = {
    "1 thread": (1, {}),
    f"{SEVERAL} threads, GNU's default": (SEVERAL, {}),
    f"{SEVERAL} threads, {SPINS} spins": (SEVERAL, {"GOMP_SPINCOUNT": SPINS}),
    f"{SEVERAL} threads, passive": (SEVERAL, {"OMP_WAIT_POLICY": "PASSIVE"}),
}
"""Side -> number of threads, and the environment in which libraries are loaded."""

BUSY = "while True: pass"


def prepare(side: str, backbone: str, setting: str, max_steps: int) -> Callable[[], tuple[float, float]]:
    """Return a function that measures the setting once and returns its seconds, and those of the processor."""
    threads, environment = SIDES[side]
    for name in (*COUNTS, *WAITING):
        os.environ.pop(name, None)
    os.environ.update({**environment, COUNTS[0]: str(threads)})
    import torch

    from bob_gauntlet.backbones.loading import load
    from bob_gauntlet.backbones.resolve import resolve
    from bob_gauntlet.config import UserConfig
    from bob_gauntlet.datasets.loading import load as load_dataset
    from bob_gauntlet.protocols.catalog import find_protocol
    from bob_gauntlet.protocols.recipe import at_scale
    from bob_gauntlet.runtime.artifacts import Artifacts
    from bob_gauntlet.runtime.context import RunContext
    from bob_gauntlet.runtime.run_config import RunConfig

    torch.set_num_threads(threads)
    protocol, _, name = setting.partition("@")
    recipe = at_scale(find_protocol(protocol), "mini")
    loaded, dataset = load(resolve(backbone, UserConfig(Path()))), load_dataset(name)
    config = RunConfig(max_steps=max_steps, loader_processes=int(threads > 1), reader_threads=min(2, threads))

    def measure() -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            started, processor = time.perf_counter(), time.process_time()
            list(recipe.evaluate(loaded, dataset, RunContext(Artifacts(Path(folder)), config)))
            return time.perf_counter() - started, time.process_time() - processor

    return measure


def report(title: str, results: Mapping[str, list[tuple[float, float]]]) -> None:
    """Print seconds, processor seconds and the ratio to one thread of every side."""
    print(f"\n{title} ({describe_load()})\n{'':28}{'seconds':>26}{'processor':>12}  times one thread", flush=True)
    alone = [seconds for seconds, _ in results["1 thread"]]
    for side, pairs in results.items():
        seconds = [wall for wall, _ in pairs]
        processor = sum(used for _, used in pairs) / len(pairs)
        print(f"{side:28}{format_spread(seconds, 1):>26}{processor:12.1f}  {format_spread(ratios(seconds, alone))}")


def main() -> None:
    """Print the times without and with a busy process, or serve one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--setting", default="detection-frozen@photo-scenes")
    parser.add_argument("--max-steps", type=int, default=20, help="Stop the training after so many steps.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", choices=SIDES)
    options = parser.parse_args()
    if options.serve:
        serve(prepare(options.serve, options.backbone, options.setting, options.max_steps))
        return
    arguments = ["--backbone", options.backbone, "--setting", options.setting, "--max-steps", str(options.max_steps)]
    print(f"{options.setting} of {options.backbone}, {options.max_steps} steps, {usable_cores()} cores")
    report("as the machine is", run_in_processes(__file__, SIDES, arguments, options.repeats))
    busy = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        report("beside one busy process", run_in_processes(__file__, SIDES, arguments, options.repeats))
    finally:
        busy.kill()
        busy.wait()


if __name__ == "__main__":
    main()
