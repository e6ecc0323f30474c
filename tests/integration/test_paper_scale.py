"""All classification settings of the paper on small datasets, run by the real suites, and a user's own datasets."""

import math
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from bob_gauntlet.cli.main import main
from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.runtime.artifacts import Artifacts, ExampleValues
from bob_gauntlet.scores.settings import SETTINGS, setting_on_user_dataset
from bob_gauntlet.scores.store import Store
from tests.helpers.dataset_trees import DETECTION as OBJECTS
from tests.helpers.dataset_trees import TREES, write_csv, write_noise_image, write_role_folders
from tests.helpers.sessions import Ran, suites
from tests.helpers.tiny_images import wait_until_settled

TOML = """
[backbones]
tiny = { spec = "random:vit_tiny_patch16_224,img_size=32,embed_dim=16,depth=2,num_heads=1", size = 32 }

[datasets.mine]
kind = "folder"
train = "mine/train"
test = "mine/test"

[datasets.tags]
kind = "csv"
multi_label = true
train = "tags/train.csv"
test = "tags/test.csv"
"""
CUT = ("--scale=paper", "--bob-limit=8", "--bob-max-steps=2", "--bob-data=data", "-k", "not detection")
PAPER = [s for s in SETTINGS.values() if "paper" in s.scales]
DETECTION = {s.id for s in PAPER if "detection" in s.protocol}
"""The detection settings, which have sessions of their own in test_paper_detection.py."""
MEASURED = {s.id for s in PAPER if not s.planned} - DETECTION
PLANNED = sum(s.planned and s.protocol == "retrieval" for s in PAPER)
"""The number of settings that have a test, but no protocol at paper scale yet."""
ON_IMAGENET = (
    "finetune@imagenet-1k", "calibration-finetune@imagenet-1k", "adversarial-finetune-eps1@imagenet-1k",
    "adversarial-finetune-eps2@imagenet-1k", "ood-finetune@imagenet-a", "ood-finetune@imagenet-r",
    "ood-finetune@imagenet-sketch", "ood-finetune@imagenet-v2",
)  # fmt: skip
"""The settings that use one network, fine-tuned on ImageNet."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, one_core: None) -> Path:
    """The folder where sessions start, with small versions of the paper's datasets and two datasets of a user."""
    folder = tmp_path_factory.mktemp("paper")
    (folder / "bob.toml").write_text(TOML)
    for name in TREES.keys() - OBJECTS:
        TREES[name](folder / "data")
    write_role_folders(folder / "mine", ("cat", "dog"), train=12, test=6)
    for role, count in (("train", 24), ("test", 12)):
        rows = [(f"{role}/{i}.png", ("red", "red|blue", "blue", "")[i % 4]) for i in range(count)]
        for path, _ in rows:
            write_noise_image(folder / "tags" / path)
        write_csv(folder / f"tags/{role}.csv", ("path", "label"), rows)
    # a dataset whose files are newer is loaded again by the next session, some of them with torchvision
    wait_until_settled()
    return folder


@pytest.fixture(scope="module")
def paper(folder: Path) -> Ran:
    """A session of every setting at paper scale, cut short."""
    return suites(folder, *CUT, "--bob-pool=none")


@pytest.fixture(scope="module")
def user_session(folder: Path, paper: Ran) -> Ran:
    """A session of the user's datasets at mini scale, on all examples, with an HTML report."""
    return suites(folder, "--dataset=mine", "--dataset=tags", "--bob-report=page.html")


def test_every_classification_of_the_paper_is_measured(paper: Ran) -> None:
    """Only planned settings are skipped, and every metric is measured but top-5, which three classes do not have."""
    assert paper.code == 0, paper.text
    counts = f"measured {len(MEASURED)} settings, 0 were already in the store, {PLANNED} skipped, 0 failed"
    assert counts in paper.text
    assert paper.settings == MEASURED
    for setting in (SETTINGS[name] for name in MEASURED):
        metrics = [measure.metric for measure in setting.measures if measure.metric != "top5"]
        assert [score.metric for score in paper.of(setting.id)] == metrics
        assert all(score.provenance["metrics"] == metrics for score in paper.of(setting.id))


def test_a_score_says_what_it_is_of(paper: Ran) -> None:
    """A score records its cut, scale, fidelity, precision, transform and data, and no two have one identity."""
    scores = paper.scores.values()
    assert len({score.identity for score in scores}) == len(scores)
    assert len({score.backbone_fingerprint for score in scores}) == 1
    for score in scores:
        assert (score.limit, score.max_steps, score.cut) == (8, 2, "first 8 examples, 2 steps")
        assert (score.scale, score.fidelity, score.precision, score.seeds) == ("paper", "sound", "float32", (0,))
        assert score.transform.startswith("32px ")
        assert bool(score.datasets) == (score.setting != "efficiency@noise")
    hashes = {name: paper.first(name).protocol_hash for name in MEASURED if name.startswith("finetune@")}
    assert hashes["finetune@cifar-100"] == hashes["finetune@imagenet-1k"]
    assert hashes["finetune@chexpert"] != hashes["finetune@imagenet-1k"], "the original has a recipe of its own"


@pytest.mark.parametrize(
    ("setting", "runs", "word"),
    [
        # a random initialisation is trained with five rates and two weight decays
        ("finetune@imagenet-1k", 10, "adamw lr"),
        ("finetune@flowers-102", 10, "adamw lr"),
        # one rate, that of the original
        ("finetune@chexpert", 1, ", weight decay 0.001"),
        ("ood-finetune@visda-2017", 1, ", weight decay 0.05"),
        # three rates, two layer decays
        ("low-shot-10pct@imagenet-1k", 6, "layer decay 0."),
        ("low-shot-1pct@imagenet-1k", 6, "layer decay 0."),
        # the rate is 0.1 * 4096 / 256
        ("linear-probe-lars@imagenet-1k", 1, "lars lr 1.6,"),
    ],
)
def test_a_training_says_how_it_went(paper: Ran, setting: str, runs: int, word: str) -> None:
    """Every run of the grid takes two steps, and the score records which run was chosen and its curve."""
    facts = paper.first(setting).provenance
    assert [run["steps"] for run in facts["runs"]] == [2] * runs
    [chosen] = facts["run"]
    assert chosen in [run["run"] for run in facts["runs"]]
    assert word in chosen
    assert facts["curve"]["epoch"] == [1, 2]
    assert all(map(math.isfinite, [*facts["curve"]["loss"], *facts["curve"]["validation"], *facts["validation"]]))
    assert 0 < facts["train_images"] <= 8
    assert 0 < facts["validation_images"] <= 8


def test_one_network_of_imagenet_serves_all_that_rests_on_it(folder: Path, paper: Ran) -> None:
    """All settings that are based on one fine-tuned network of ImageNet share it."""
    counts = {
        kind: len(list((folder / ".bob/artifacts" / kind).glob("*.safetensors"))) for kind in ("networks", "heads")
    }
    # networks: six fine-tuned datasets, VisDA, two low-shot and one LARS; heads: ImageNet, VisDA
    assert counts == {"networks": 10, "heads": 2}
    provenances = [paper.first(setting).provenance for setting in ON_IMAGENET]
    assert all((one["run"], one["curve"]) == (provenances[0]["run"], provenances[0]["curve"]) for one in provenances)
    assert not list((folder / ".bob/artifacts/checkpoints").glob("*/*")), "what is done leaves no checkpoint"


def test_the_same_command_again_reads_without_torch(folder: Path, paper: Ran) -> None:
    """The same command again measures nothing, and torch is not imported."""
    again = suites(folder, *CUT, "--bob-pool=none", fresh=True)
    assert f"measured 0 settings, {len(MEASURED)} were already in the store" in again.text
    assert again.scores == paper.scores
    assert "torch is imported: False" in again.text


def test_cut_scores_are_neither_ranked_nor_saved(folder: Path, paper: Ran) -> None:
    """Cut scores are shown unranked with the reason, and saving them is refused before anything runs."""
    ranked = suites(folder, *CUT)
    assert "No ranking: none of the measured metrics is ranked in pool paper" in ranked.text
    [line] = [line for line in ranked.text.splitlines() if "not ranked" in line]
    assert line.endswith(
        "of tiny: not ranked, because limit differs from that of pool paper (first 8 examples, 2 steps)"
    )
    assert "at paper scale, limit 8, 2 steps of training, on cpu" in ranked.text
    saved = suites(folder, *CUT, "--bob-save=ours")
    assert saved.code == pytest.ExitCode.USAGE_ERROR
    assert "--bob-save cannot be combined with --bob-limit and --bob-max-steps" in saved.text


def test_the_papers_fidelity_is_another_protocol(folder: Path, paper: Ran) -> None:
    """At the paper's fidelity Flowers is reported on val; a protocol with one fidelity is read from the store."""
    session = suites(
        folder,
        *CUT,
        "--bob-fidelity=paper",
        "--bob-pool=none",
        "-k",
        "flowers or lars or (linear_probe and not ood and not calibration and not adversarial)",
    )
    assert "measured 2 settings, 1 were already in the store, 0 skipped, 0 failed" in session.text
    assert session.scores["linear-probe@imagenet-1k", "top1"] == paper.scores["linear-probe@imagenet-1k", "top1"]
    for setting, role in (("finetune@flowers-102", "val-"), ("linear-probe-lars@imagenet-1k", "ILSVRC2012_val")):
        score = session.first(setting)
        assert score.fidelity == "paper"
        assert score.protocol_hash != paper.first(setting).protocol_hash
        assert "reported images" in score.provenance["selection"]
        where = score.provenance["examples"]
        arrays = Artifacts(folder / ".bob/artifacts").peek(where["kind"], where["key"], ExampleValues.schema())
        assert arrays is not None
        assert all(role in name for name in arrays["ids"].tobytes().decode().split("\n"))
    assert "the original's fidelity" in session.text


def test_without_data_every_setting_says_what_to_get(folder: Path, paper: Ran) -> None:
    """For every missing dataset one line says how to get and check it, and the exit code is 5."""
    session = suites(folder, "--scale=paper", "--bob-data=nothing", "-k", "not efficiency")
    assert session.code == pytest.ExitCode.NO_TESTS_COLLECTED
    assert f"{len(MEASURED | DETECTION) - 1 + PLANNED} skipped, 0 failed" in session.text
    lines = [line for line in session.text.splitlines() if line.startswith("skipped: ")]
    for name in {SETTINGS[setting].dataset for setting in MEASURED | DETECTION} - {"noise"}:
        # for a dataset that is made of two others, the line names the first one that is missing
        needed, before = (
            ("sim10k", f"{name} is made of sim10k and cityscapes: ") if CATALOG[name].combined else (name, "")
        )
        [line] = [line for line in lines if f": {before}{needed} is not in" in line]
        assert re.search(
            rf"{needed} is not in \S+/nothing/{needed}; get it from .+ \(licence: .+\); `bob data {needed}`", line
        )
    assert "No ranking: nothing was measured" in session.text


@pytest.mark.slow
def test_two_workers_measure_the_same(folder: Path, paper: Ran) -> None:
    """Two workers that start with an empty store measure exactly the values of the serial run."""
    options = ("--bob-store=two/store", "--bob-cache=two/cache", "--bob-pool=none", "-n2")
    session = suites(folder, *CUT, *options, "--dataset=imagenet-r", "--dataset=cifar-100")
    assert session.code == 0, session.text
    assert session.settings == {"finetune@cifar-100", "ood-finetune@imagenet-r", "ood-linear-probe@imagenet-r"}
    assert {m: s.value for m, s in session.scores.items()} == {m: paper.scores[m].value for m in session.scores}
    assert {m: s.identity for m, s in session.scores.items()} == {m: paper.scores[m].identity for m in session.scores}


def test_datasets_of_a_users_own_run_every_classification(user_session: Ran) -> None:
    """A user's datasets run every classification; what needs one label per image is skipped with the reason."""
    assert user_session.code == 0, user_session.text
    trained = ["linear-probe", "linear-probe-lars", "finetune", "low-shot-10pct", "low-shot-1pct", "knn"]
    tested = [f"calibration-{head}" for head in ("linear-probe", "finetune")]
    tested += [f"adversarial-{head}-eps{e}" for head in ("linear-probe", "finetune") for e in (1, 2)]
    assert user_session.settings == {f"{name}@mine" for name in trained + tested} | {f"{name}@tags" for name in trained}
    assert {score.metric for score in user_session.scores.values() if score.setting.endswith("@tags")} == {"mean_auc"}
    assert {(f"{name}@mine", "top1") for name in trained + tested} <= set(user_session.scores)
    assert all(
        not m.ranked
        for name in trained + tested
        if (s := setting_on_user_dataset(name, "mine", "folder"))
        for m in s.measures
    )
    assert "6 skipped, 0 failed" in user_session.text
    for why in ("the attack needs one", "calibration needs one"):
        assert f"tags of tiny: tags has several labels per image; {why}" in user_session.text


def test_they_are_shown_and_not_ranked(folder: Path, user_session: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's datasets are shown in the summary, `bob list`, `bob rank` and every report, and are not ranked."""
    why = "of tiny: not ranked, because your own datasets are in no pool"
    assert "tiny  finetune@mine " in user_session.text
    assert "No ranking: none of the measured metrics is ranked in pool mini" in user_session.text
    assert len([line for line in user_session.text.splitlines() if line.endswith(why)]) == 1
    monkeypatch.chdir(folder)
    for ending in ("html", "md", "json", "csv"):
        made = CliRunner().invoke(main, ["report", "--pool=mini", "--backbone=tiny", f"--output=r.{ending}"])
        assert made.exit_code == 0, made.output
        assert "low-shot-10pct@mine" in (folder / f"r.{ending}").read_text()
    assert "low-shot-10pct@mine" in (folder / "page.html").read_text()
    assert "low-shot-10pct@mine" in CliRunner().invoke(main, ["list"]).output
    ranked = CliRunner().invoke(main, ["rank", "--backbone=tiny"])
    assert ranked.exit_code == 0
    assert why in ranked.output


def test_they_run_at_paper_scale_too(folder: Path, user_session: Ran) -> None:
    """A user's dataset runs with the schedules of the paper, on 24 images and for two steps."""
    session = suites(folder, "--scale=paper", "--bob-max-steps=2", "--dataset=mine", "--bob-pool=none")
    assert "measured 12 settings, 0 were already in the store, 0 skipped, 0 failed" in session.text
    assert {(score.scale, score.max_steps, score.limit) for score in session.scores.values()} == {("paper", 2, None)}


def test_saved_baselines_of_ones_own_data_rank_nothing(folder: Path, user_session: Ran) -> None:
    """Baselines on a user's dataset are saved, and a session against them says that nothing is ranked."""
    assert suites(folder, "--dataset=mine", "--bob-save=ours").code == 0
    session = suites(folder, "--dataset=mine", "--bob-pool=ours")
    assert session.code == 0, session.text
    assert "No ranking: none of the measured metrics is ranked in pool ours" in session.text


def test_a_dataset_that_changed_is_measured_again(folder: Path, user_session: Ran) -> None:
    """A dataset with a new image is measured again, and one line says so once with the day of the older score."""
    options = ("--dataset=mine", "--bob-pool=none", "-k", "knn")
    day = user_session.scores["knn@mine", "top1"].provenance["started"][:10]
    write_noise_image(folder / "mine/train/cat/new.png")
    session = suites(folder, *options)
    assert session.code == 0
    assert f"\nmine has other fingerprints than on {day}: measured again (knn@mine of tiny)\n" in session.text
    assert "other fingerprints" not in suites(folder, *options).text
    assert len({s.datasets["train"] for s in Store(folder / ".bob/store") if s.setting == "knn@mine"}) == 2


def test_one_dataset_may_be_chosen(folder: Path) -> None:
    """--dataset selects one dataset; an unknown name or one that is not at that scale is exit code 4."""
    listed = suites(folder, "--dataset=photos", "--collect-only", "-q").text
    dataset_names = re.findall(r"::test_\w+\[tiny@[\w-]+@([\w-]+)\]", listed)
    assert set(dataset_names) == {"photos"}
    assert len(dataset_names) == sum(s.dataset == "photos" for s in SETTINGS.values())
    for options, said in (
        (["--dataset=phots"], "unknown dataset 'phots'; did you mean photos"),
        (
            ["--dataset=photos", "--scale=paper"],
            "--dataset=photos: no setting at paper scale; add --scale mini",
        ),
    ):
        refused = suites(folder, *options)
        assert refused.code == pytest.ExitCode.USAGE_ERROR
        assert said in refused.text
