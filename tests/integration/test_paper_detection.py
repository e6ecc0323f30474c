"""All detection settings of the paper on small datasets, run by the real suites, and detection on a user's dataset."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.cli.main import main
from bob_gauntlet.config import UserConfig
from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.engine.detection.data_loading import DetectionSample
from bob_gauntlet.engine.detection.detector import Detector
from bob_gauntlet.engine.detection.resizing import Scaling
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.protocols.detection import Detection, OODDetection
from bob_gauntlet.protocols.recipe import at_scale, canonical
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.settings import SETTINGS
from tests.helpers.dataset_trees import TREES
from tests.helpers.sessions import Ran, suites
from tests.helpers.tiny_images import wait_until_settled

TOML = """
[backbones]
maps = { spec = "random:test_resnet", size = 32 }
plain = { spec = "random:vit_tiny_patch16_224,img_size=32,embed_dim=16,depth=2,num_heads=1", size = 32 }

[datasets.mine]
kind = "coco"
train = "data/coco-2017/annotations/instances_train2017.json"
train_images = "data/coco-2017/train2017"
test = "data/coco-2017/annotations/instances_val2017.json"
test_images = "data/coco-2017/val2017"
"""
THIN = ("-p", "tests.helpers.thin_detection")
CUT = ("--scale=paper", "--bob-limit=8", "--bob-max-steps=2", "--bob-data=data", "--bob-pool=none")
CHOSEN = (*THIN, *CUT, "-k", "detection and (maps or frozen)")
BOTH = ("maps", "plain")
"""A backbone with four feature maps, and a plain ViT."""
MEASURED = {s.id for s in SETTINGS.values() if "paper" in s.scales and "detection" in s.protocol}
FROZEN = {"detection-frozen@coco-2017", "ood-detection-frozen@sim10k-cityscapes"}
GRID = [8e-5, 1e-4, 2e-4, 3e-4]
STREETS = {"augmentation": "jitter", "jitter_short": 512, "lrs": [1e-4]}
RARE = {"rare_below": 1e-3, "detections": 300, "least_score": 1e-4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, one_core: None) -> Path:
    """The folder where sessions start, with small versions of all datasets of the paper's detection settings."""
    folder = tmp_path_factory.mktemp("paper")
    (folder / "bob.toml").write_text(TOML)
    for name in ("lvis-v1", "sim10k-cityscapes"):
        TREES[name](folder / "data")
    wait_until_settled()
    return folder


@pytest.fixture(scope="module")
def paper(folder: Path) -> Ran:
    """A short session at paper scale with thin heads: every setting on `maps`, the frozen ones on `plain`."""
    return suites(folder, *CHOSEN, backbones=BOTH)


def recipe_on(dataset: str, recipe: Any) -> Any:
    """Return the recipe that runs on a dataset at paper scale."""
    return at_scale(recipe, "paper", CATALOG[dataset].overrides)


def found_by(folder: Path, score: Score) -> dict[str, np.ndarray]:
    """Return the arrays of the detections behind a score."""
    where = score.provenance["detections"]
    schema = Detections.schema(images=10**6, classes=10**6)
    arrays = Artifacts(folder / ".bob/artifacts").peek(where["kind"], where["key"], schema)
    assert arrays is not None
    return dict(arrays)


def test_every_detection_of_the_paper_is_measured(paper: Ran) -> None:
    """All six settings are measured with every metric, and none is planned, skipped or failed."""
    assert paper.code == 0, paper.text
    assert f"measured {len(MEASURED) + len(FROZEN)} settings, 0 were already in the store, 0 skipped, 0 failed" in (
        paper.text
    )
    assert len(MEASURED) == 6
    for backbone, settings in (("maps", MEASURED), ("plain", FROZEN)):
        backbone_scores = [score for score in paper.records if score.backbone == backbone]
        assert {score.setting for score in backbone_scores} == settings
        for setting in settings:
            wanted = [measure.metric for measure in SETTINGS[setting].measures]
            assert [score.metric for score in backbone_scores if score.setting == setting] == wanted
    assert all(0 <= score.value <= 100 for score in paper.records)


def test_a_detectors_score_says_what_it_is_of(paper: Ran) -> None:
    """A score records its cut, scale, fidelity, precision and data, and no two scores have one identity."""
    assert len({score.identity for score in paper.records}) == len(paper.records)
    for score in paper.records:
        assert (score.limit, score.max_steps, score.scale, score.fidelity) == (8, 2, "paper", "sound")
        assert (score.precision, score.seeds) == ("float32", (0,))
        assert set(score.datasets) == {"train", "test"}
        # images without objects count in tests: val2017 and Cityscapes have four images, and LVIS's val has five
        assert score.provenance["n"] == (5 if score.setting.endswith("lvis-v1") else 4)


def test_the_grid_and_the_choices_of_a_dataset_reach_the_training(paper: Ran) -> None:
    """Training runs take two steps at four rates, on Sim10k at the original's one, and use the dataset's choices."""
    for score in paper.records:
        provenance, streets = score.provenance, score.setting.startswith("ood-")
        recipe_fields = provenance["protocol"]["detector"] if streets else provenance["protocol"]
        rates = [1e-4] if streets else GRID
        assert [run["run"] for run in provenance["runs"]] == [f"adamw lr {lr:g}, weight decay 0.05" for lr in rates]
        assert [run["steps"] for run in provenance["runs"]] == [2] * len(rates)
        unusual = STREETS if streets else RARE if score.setting.endswith("lvis-v1") else {}
        assert {**recipe_fields, **unusual} == recipe_fields
        assert not ({*STREETS, *RARE} - {*unusual, "jitter_short"}) & recipe_fields.keys()
        assert 0 < provenance["train_images"] <= 5
        assert provenance["validation_images"] > 0
    hashes = {name: paper.first(name).protocol_hash for name in MEASURED}
    assert len(set(hashes.values())) == len(MEASURED)


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_a_datasets_choices_go_through_nested_recipes(mode: Any) -> None:
    """Sim10k has jitter and tests at 1024 x 512 pixels, and LVIS has MMDetection's values where it is fine-tuned."""
    streets = recipe_on("sim10k-cityscapes", OODDetection(Detection(mode=mode, masks=False)))
    assert {**canonical(streets)["detector"], **STREETS} == canonical(streets)["detector"]
    assert streets.detector._scaling((4, 8, 16, 32)) == Scaling(512, 1024, "jitter", 32)
    assert streets.detector._scaling((16,)) == Scaling(512, 1024, "jitter", 32)
    # Cityscapes' images have 2048 x 1024 pixels
    assert streets.detector._scaling((16,)).fitted(1024, 2048) == (512, 1024)
    coco = recipe_on("coco-2017", Detection(mode=mode))
    assert coco == Detection(mode=mode)
    assert coco._scaling((4, 8, 16, 32)) == Scaling(800, 1333, "multi-scale", 32)
    assert coco._scaling((16,)) == Scaling(1024, 1024, "jitter", 32)
    lvis = recipe_on("lvis-v1", Detection(mode=mode))
    plain = canonical(Detection(mode=mode))
    assert canonical(lvis) == (plain if mode == "frozen" else {**plain, **RARE})


def test_a_strip_in_which_no_anchor_lies_can_be_learned_from() -> None:
    """An image that jitter made smaller than every anchor (9 and 23 pixels high) has a finite, positive loss."""
    backbone = load(resolve("random:test_resnet", UserConfig(Path())))
    recipe = Detection(masks=False, channels=8, linear=8, regions=8, anchors=8, proposals=(20, 10))
    detector = Detector(backbone, recipe._detector_config(backbone, 3).design, 0)
    strip = DetectionSample(
        torch.full((3, 9, 102), 99, dtype=torch.uint8), torch.tensor([[4.0, 1.0, 30.0, 8.0]]), torch.tensor([1]), None,
        (128, 128), (90, 1020),
    )  # fmt: skip
    loss = detector.loss([strip])
    assert torch.isfinite(loss)
    assert loss > 0


def test_detections_are_kept_and_lie_inside_their_images(folder: Path, paper: Ran) -> None:
    """An image has at most the allowed number of detections, and every box lies inside its image."""
    for score in paper.records:
        arrays = found_by(folder, score)
        most = 300 if score.setting.endswith("lvis-v1") else 100
        counts = np.bincount(arrays["images"])
        assert 0 < counts.max() <= most
        # the longest side of every image has 64 pixels
        assert arrays["boxes"].min() >= 0
        assert (arrays["boxes"][:, :2] + arrays["boxes"][:, 2:]).max() <= 64.01
    fewest, rare = (found_by(folder, paper.first(f"detection-finetune@{name}")) for name in ("coco-2017", "lvis-v1"))
    assert fewest["scores"].min() >= 0.05
    assert rare["scores"].min() >= 1e-4


def test_the_same_command_again_reads_without_torch(folder: Path, paper: Ran) -> None:
    """The same command again measures nothing, and torch is not imported."""
    again = suites(folder, *CHOSEN, backbones=BOTH, fresh=True)
    assert f"measured 0 settings, {len(MEASURED) + len(FROZEN)} were already in the store" in again.text
    assert again.records == paper.records
    assert "torch is imported: False" in again.text
    assert not list((folder / ".bob/artifacts/checkpoints").glob("*/*")), "what is done leaves no checkpoint"


@pytest.mark.slow
def test_the_papers_fidelity_is_another_protocol(folder: Path, paper: Ran) -> None:
    """At the paper's fidelity the protocol hash differs, and the rate is chosen on the images that are reported."""
    session = suites(
        folder, *THIN, *CUT, "--bob-fidelity=paper", "-k", "detection_frozen and (plain or ood)", backbones=BOTH
    )
    assert session.code == 0, session.text
    assert "measured 3 settings, 0 were already in the store, 0 skipped, 0 failed" in session.text
    assert "the original's fidelity" in session.text
    hashes = {score.protocol_hash for score in paper.records}
    for score in session.records:
        assert score.fidelity == "paper"
        assert score.protocol_hash not in hashes
        assert "on the reported images, as in the original" in score.provenance["selection"]
        # all training images except the one without objects
        assert score.provenance["train_images"] == 5


def test_a_dataset_of_ones_own_runs_every_detection(folder: Path) -> None:
    """A user's dataset in COCO format runs three settings at mini scale, and they are not ranked."""
    session = suites(folder, "--bob-max-steps=2", "--dataset=mine", backbones=("maps",))
    assert session.code == 0, session.text
    assert "measured 3 settings, 0 were already in the store, 0 skipped, 0 failed" in session.text
    assert session.settings == {f"detection-{mode}@mine" for mode in ("frozen", "finetune", "scratch")}
    assert {(score.scale, score.metric) for score in session.records} == {
        ("mini", f"{metric}_{kind}") for metric in ("ap", "ap50", "ap75") for kind in ("box", "mask")
    }
    assert "of maps: not ranked, because your own datasets are in no pool" in session.text


def test_the_trees_are_what_bob_data_asks_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bob data --verify` accepts every dataset of the session."""
    monkeypatch.chdir(folder)
    for name in ("coco-2017", "lvis-v1", "sim10k-cityscapes"):
        page = CliRunner().invoke(main, ["data", name, "--data=data", "--verify"])
        assert page.exit_code == 0, page.output
        assert "every image can be read" in page.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "chosen"), [("maps", "detection_finetune and coco"), ("plain", "ood_detection_finetune")]
)
def test_the_papers_own_sizes(folder: Path, backbone: str, chosen: str) -> None:
    """Full heads take one training step of one image at each rate, at 1333 x 800 and 1024 x 1024 pixels."""
    one = ("--bob-limit=2", "--bob-max-steps=1")
    session = suites(folder, *CUT, *one, "-k", chosen, backbones=(backbone,))
    assert session.code == 0, session.text
    assert "measured 1 setting, 0 were already in the store, 0 skipped, 0 failed" in session.text
    assert all(len(facts["runs"]) == (4 if backbone == "maps" else 1) for facts in [session.records[0].provenance])
