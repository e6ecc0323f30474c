"""Every detection setting of the paper, by the real suites on small trees, and boxes of a user's own."""

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
from bob_gauntlet.protocols.detection import Detection, OODDetection
from bob_gauntlet.protocols.recipe import at_scale, canonical
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.settings import SETTINGS
from tests.helpers.dataset_trees import TREES
from tests.helpers.sessions import Ran, suites

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
"""A backbone of four maps, and a plain ViT."""
MEASURED = {s.id for s in SETTINGS.values() if "paper" in s.scales and "detection" in s.protocol}
FROZEN = {"detection-frozen@coco-2017", "ood-detection-frozen@sim10k-cityscapes"}
GRID = [8e-5, 1e-4, 2e-4, 3e-4]
STREETS = {"augmentation": "jitter", "jitter_short": 512, "lrs": [1e-4]}
RARE = {"rare_below": 1e-3, "detections": 300, "least_score": 1e-4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, one_core: None) -> Path:
    """Where sessions start: small trees of all that the paper detects on."""
    folder = tmp_path_factory.mktemp("paper")
    (folder / "bob.toml").write_text(TOML)
    for name in ("lvis-v1", "sim10k-cityscapes"):
        TREES[name](folder / "data")
    return folder


@pytest.fixture(scope="module")
def paper(folder: Path) -> Ran:
    """Every setting at paper scale on maps, the frozen ones on a plain ViT, with thin heads and cut short."""
    return suites(folder, *CHOSEN, backbones=BOTH)


def recipe_on(dataset: str, recipe: Any) -> Any:
    """What the paper's scale makes of it on a dataset."""
    return at_scale(recipe, "paper", CATALOG[dataset].overrides)


def found_by(folder: Path, score: Score) -> dict[str, np.ndarray]:
    """The detections behind a score."""
    where = score.provenance["detections"]
    arrays = Artifacts(folder / ".bob/artifacts").peek(where["kind"], where["key"])
    assert arrays is not None
    return dict(arrays)


def test_every_detection_of_the_paper_is_measured(paper: Ran) -> None:
    """All six settings, with every metric; none is planned, skipped or failed."""
    assert paper.code == 0, paper.text
    assert f"measured {len(MEASURED) + len(FROZEN)} settings, 0 were already in the store, 0 skipped, 0 failed" in (
        paper.text
    )
    assert len(MEASURED) == 6
    for backbone, settings in (("maps", MEASURED), ("plain", FROZEN)):
        own = [score for score in paper.records if score.backbone == backbone]
        assert {score.setting for score in own} == settings
        for setting in settings:
            wanted = [measure.metric for measure in SETTINGS[setting].measures]
            assert [score.metric for score in own if score.setting == setting] == wanted
    assert all(0 <= score.value <= 100 for score in paper.records)


def test_a_detectors_score_says_what_it_is_of(paper: Ran) -> None:
    """Cut, scale, fidelity, precision and data; no two of one backbone have one identity."""
    assert len({score.identity for score in paper.records}) == len(paper.records)
    for score in paper.records:
        assert (score.limit, score.max_steps, score.scale, score.fidelity) == (8, 2, "paper", "sound")
        assert (score.precision, score.seeds) == ("float32", (0,))
        assert set(score.datasets) == {"train", "test"}
        # images without objects count in tests: four of val2017 and of Cityscapes, one more of LVIS's val
        assert score.provenance["n"] == (5 if score.setting.endswith("lvis-v1") else 4)


def test_the_grid_and_the_choices_of_a_dataset_reach_the_training(paper: Ran) -> None:
    """Four rates, on Sim10k the original's one; every run took two steps, and all that is unusual is in the hash."""
    for score in paper.records:
        told, streets = score.provenance, score.setting.startswith("ood-")
        form = told["protocol"]["detector"] if streets else told["protocol"]
        rates = [1e-4] if streets else GRID
        assert [run["run"] for run in told["runs"]] == [f"adamw lr {lr:g}, weight decay 0.05" for lr in rates]
        assert [run["steps"] for run in told["runs"]] == [2] * len(rates)
        unusual = STREETS if streets else RARE if score.setting.endswith("lvis-v1") else {}
        assert {**form, **unusual} == form
        assert not ({*STREETS, *RARE} - {*unusual, "jitter_short"}) & form.keys()
        assert 0 < told["train_images"] <= 5
        assert told["validation_images"] > 0
    hashes = {name: paper.first(name).protocol_hash for name in MEASURED}
    assert len(set(hashes.values())) == len(MEASURED)


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_a_datasets_choices_go_through_nested_recipes(mode: Any) -> None:
    """Sim10k: jitter and tests at 1024 x 512 for every backbone; LVIS, fine-tuned: what MMDetection has for it."""
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
    """Jitter makes a tenth of a long image: 9 of 102 pixels, where the smallest anchor has 23."""
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
    """As many as an image may have, on each of its classes; masks only where they are asked for."""
    for score in paper.records:
        arrays = found_by(folder, score)
        most = 300 if score.setting.endswith("lvis-v1") else 100
        counts = np.bincount(arrays["images"])
        assert 0 < counts.max() <= most
        # 64 pixels are the longest side of all images
        assert arrays["boxes"].min() >= 0
        assert (arrays["boxes"][:, :2] + arrays["boxes"][:, 2:]).max() <= 64.01
    fewest, rare = (found_by(folder, paper.first(f"detection-finetune@{name}")) for name in ("coco-2017", "lvis-v1"))
    assert fewest["scores"].min() >= 0.05
    assert rare["scores"].min() >= 1e-4


def test_the_same_command_again_reads_without_torch(folder: Path, paper: Ran) -> None:
    """Nothing is measured, and nothing heavy is loaded."""
    again = suites(folder, *CHOSEN, backbones=BOTH)
    assert f"measured 0 settings, {len(MEASURED) + len(FROZEN)} were already in the store" in again.text
    assert again.records == paper.records
    assert "with torch" not in again.text
    assert not list((folder / ".bob/artifacts/checkpoints").glob("*/*")), "what is done leaves no checkpoint"


@pytest.mark.slow
def test_the_papers_fidelity_is_another_protocol(folder: Path, paper: Ran) -> None:
    """The original's heads and pixels, of ViTs and of others; the rate is chosen on the images that are reported."""
    found = suites(
        folder, *THIN, *CUT, "--bob-fidelity=paper", "-k", "detection_frozen and (plain or ood)", backbones=BOTH
    )
    assert found.code == 0, found.text
    assert "measured 3 settings, 0 were already in the store, 0 skipped, 0 failed" in found.text
    assert "the original's fidelity" in found.text
    hashes = {score.protocol_hash for score in paper.records}
    for score in found.records:
        assert score.fidelity == "paper"
        assert score.protocol_hash not in hashes
        assert "on the reported images, as in the original" in score.provenance["selection"]
        # all of train, but for the image without objects
        assert score.provenance["train_images"] == 5


def test_a_dataset_of_ones_own_runs_every_detection(folder: Path) -> None:
    """In COCO's format, at mini scale: three settings, which are not ranked, and no other."""
    found = suites(folder, "--bob-max-steps=2", "--dataset=mine", backbones=("maps",))
    assert found.code == 0, found.text
    assert "measured 3 settings, 0 were already in the store, 0 skipped, 0 failed" in found.text
    assert found.settings == {f"detection-{mode}@mine" for mode in ("frozen", "finetune", "scratch")}
    assert {(score.scale, score.metric) for score in found.records} == {
        ("mini", f"{metric}_{kind}") for metric in ("ap", "ap50", "ap75") for kind in ("box", "mask")
    }
    assert "of maps: not ranked, because your own datasets are in no pool" in found.text


def test_the_trees_are_what_bob_data_asks_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every dataset of the session is whole."""
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
    """Full heads at 1333 x 800 and 1024 x 1024 pixels: one step of one image at each rate."""
    one = ("--bob-limit=2", "--bob-max-steps=1")
    found = suites(folder, *CUT, *one, "-k", chosen, backbones=(backbone,))
    assert found.code == 0, found.text
    assert "measured 1 setting, 0 were already in the store, 0 skipped, 0 failed" in found.text
    assert all(len(told["runs"]) == (4 if backbone == "maps" else 1) for told in [found.records[0].provenance])
