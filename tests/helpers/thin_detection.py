"""A plugin for sessions in tests: at paper scale detectors are as thin, and images as small, as at mini scale.

The rest of the recipe is the paper's. The plugin adds overrides to the datasets of the catalog; overrides that a
dataset has already stay. It is loaded with `-p tests.helpers.thin_detection`.
"""

from dataclasses import replace
from unittest.mock import patch

from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.protocols.detection import Detection

FIELDS = ("short_side", "long_side", "channels", "linear", "anchors", "regions", "proposals")
THIN = {**{name: Detection.mini[name] for name in FIELDS}, "jitter_side": 128, "jitter_short": 128}
DATASETS = ("coco-2017", "lvis-v1", "sim10k-cityscapes")
PROTOCOLS = tuple(f"detection-{mode}" for mode in ("frozen", "finetune", "scratch"))

patch.dict(
    CATALOG,  # type: ignore[arg-type]
    {
        name: replace(spec, overrides={each: {**THIN, **spec.overrides.get(each, {})} for each in PROTOCOLS})
        for name in DATASETS
        if (spec := CATALOG[name])
    },
).start()
