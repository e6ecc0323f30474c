"""baselines/paper: it holds every printed figure once, under the right measure and backbone, and nothing else."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from bob_gauntlet.backbones.zoo import ZOO
from bob_gauntlet.pools import paper_tables
from bob_gauntlet.pools.folder import read_backbones, read_scores
from bob_gauntlet.pools.paper_tables import PrintedRow
from bob_gauntlet.scores.score import METRICS, Score
from bob_gauntlet.scores.settings import SETTINGS, find_setting

PAPER = Path(__file__).parents[2] / "baselines/paper"
SCORES = read_scores(PAPER)
PRINTED = paper_tables.read_printed_rows(PAPER)
ERRATA = paper_tables.read_errata(PAPER)

# Results of Tables 8 to 19: every number but the detectors' parameters and Table 19's z. Counted from the tables.
RESULTS = {
    "table08": 104, "table09": 173, "table10": 60, "table11": 126, "table12": 180, "table13": 30, "table14": 82,
    "table15": 48, "table16": 248, "table17": 248, "table18": 248, "table19": 60,
}  # fmt: skip


def table(name: str) -> list[dict[str, str]]:
    """Return the rows of a printed table."""
    with (PAPER / f"tables/{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scores_by_cell() -> dict[tuple[str, int, str], Score]:
    """Return (table, row, column) of each printed figure -> its score."""
    return {cell: score for score in SCORES for cell in paper_tables.printed_sources(score)}


def test_every_printed_figure_is_there_once() -> None:
    """There are 1,607 figures, as many from each table as it prints, and no cell is the source of two scores."""
    cells = [cell for score in SCORES for cell in paper_tables.printed_sources(score)]
    assert len(cells) == len(set(cells)) == sum(RESULTS.values()) == 1607
    assert Counter(name for name, _, _ in cells) == RESULTS


@pytest.mark.parametrize("name", RESULTS)
def test_the_printed_table_can_be_restored_from_the_scores(name: str) -> None:
    """Every cell of the printed table has its score, and a blank cell has none."""
    scores = scores_by_cell()
    for number, row in enumerate(table(name), 1):
        for column, text in row.items():
            if column in ("backbone", "method", "pretrain_data", "params_m", "input_size", "zscore"):
                continue
            score = scores.get((name, number, column))
            assert (score is None) == (text == ""), (name, number, column)
            if score is not None:
                assert score.value == float(text), (name, number, column)
                assert score.backbone == PRINTED[name, number].id, (name, number)


# Column -> setting that it prints, written here a second time, independently of settings.py
COLUMNS = {
    "imagenet_lp": "linear-probe-lars@imagenet-1k", "imagenet_ft": "finetune@imagenet-1k",
    "imagenet_10pct": "low-shot-10pct@imagenet-1k", "imagenet_1pct": "low-shot-1pct@imagenet-1k",
    "imagenet": "finetune@imagenet-1k", "clean": "finetune@imagenet-1k", "cifar100": "finetune@cifar-100",
    "eurosat": "finetune@eurosat", "flowers102": "finetune@flowers-102", "aircraft": "finetune@fgvc-aircraft",
    "chexpert": "finetune@chexpert", "accuracy": "calibration-finetune@imagenet-1k",
    "ce": "calibration-finetune@imagenet-1k", "ece": "calibration-finetune@imagenet-1k",
    "imagenet_a": "ood-finetune@imagenet-a", "imagenet_s": "ood-finetune@imagenet-sketch",
    "imagenet_r": "ood-finetune@imagenet-r", "imagenet_v2": "ood-finetune@imagenet-v2",
    "visda": "ood-finetune@visda-2017", "map50_ft": "ood-detection-finetune@sim10k-cityscapes",
    "map50_frozen": "ood-detection-frozen@sim10k-cityscapes", "eps1": "adversarial-finetune-eps1@imagenet-1k",
    "eps2": "adversarial-finetune-eps2@imagenet-1k", "cub": "retrieval@cub-200", "inat": "retrieval@inaturalist",
    "objectnet": "retrieval@objectnet", "instre": "retrieval@instre", "gldv2": "retrieval@gldv2",
    "roxford": "retrieval@roxford5k", "rparis": "retrieval@rparis6k", "copydays": "retrieval@copydays",
}  # fmt: skip
DETECTION = {
    "table11": "detection-frozen@coco-2017", "table12": "detection-finetune@coco-2017",
    "table13": "detection-finetune@lvis-v1",
}  # fmt: skip
METRIC_OF = {
    "chexpert": "mean_auc", "ce": "ce", "ece": "ece", "map50_ft": "ap50_box", "map50_frozen": "ap50_box",
    **{f"{ap}_{kind}": f"{ap}_{kind}" for ap in ("ap", "ap50", "ap75") for kind in ("box", "mask")},
}  # fmt: skip
RETRIEVAL = {"table16": "map", "table17": "mrr", "table18": "recall5"}


@pytest.mark.parametrize("name", RESULTS)
def test_a_figure_has_the_setting_that_measures_it(name: str) -> None:
    """Setting and metric are those of the column, scale and fidelity those of the paper."""
    for (table_name, _, column), score in scores_by_cell().items():
        if table_name != name:
            continue
        head, _, tail = column.rpartition("_")
        setting = DETECTION.get(name) or COLUMNS.get(column) or COLUMNS[head]
        metric = RETRIEVAL.get(name) or METRIC_OF.get(column) or (tail if tail in ("top1", "top5") else "top1")
        assert (score.setting, score.metric) == (setting, metric)
        assert score.task == find_setting(score.setting).measure(score.metric).task
        assert (score.scale, score.fidelity, score.limit) == ("paper", "paper", None)
        assert METRICS[score.metric].unit != "%" or 0 <= score.value <= 100


# Pretraining data as the tables write it -> as the zoo writes it
DATA = {
    "ImageNet-1k": {"ImageNet-1k"},
    "ImageNet-21k": {"ImageNet-21k", "ImageNet-21k, then 1k"},
    "ImageNet-21k-1k": {"ImageNet-21k, then 1k", "ImageNet-21k"},
    "LAION-2B": {"LAION-2B"},
    "OpenAI": {"WIT-400M"},
    "MiDaS": {"12 depth datasets"},
}


@pytest.mark.parametrize("row", PRINTED.values(), ids=lambda r: f"{r.table}:{r.row}")
def test_a_printed_row_is_the_backbone_that_it_names(row: PrintedRow) -> None:
    """Architecture, method and data of the backbone are those of the printed row, and a reason is given."""
    printed = table(row.table)[row.row - 1]
    assert (row.backbone, row.method, row.pretrain_data) == tuple(
        printed[c] for c in ("backbone", "method", "pretrain_data")
    )
    assert row.reason
    scheme, _, architecture = row.id.rpartition(":")
    known = ZOO.get(row.id) or next(e for e in ZOO.values() if e.name.split(".")[0] == architecture)
    assert known.model.lower().startswith(row.backbone.lower())
    assert not row.checkpoint or ZOO.get(row.checkpoint, known).model
    if row.method == "Random Init":
        assert scheme == "random"
        return
    assert known.method.lower().replace(" ", "") == row.method.lower().replace(" ", "")
    errata_on_data = [e for e in ERRATA if (e.table, e.row) == (row.table, row.row) and "LAION-2B" in e.why]
    assert known.data in DATA[row.pretrain_data] or (errata_on_data and known.data == "WIT-400M")


def test_an_erratum_is_about_a_printed_row() -> None:
    """Its row and columns are in the table, its backbone is known, and it gives a reason."""
    for e in ERRATA:
        row = table(e.table)[e.row - 1]
        assert e.columns == "*" or set(e.columns.split()) <= set(row)
        assert e.becomes in ("", "none", *(r.id for r in PRINTED.values()))
        assert len(e.why) > 20
        assert e.erratum[0] in "ES"
        assert e.why.startswith("suspected: ") == e.erratum.startswith("S")


def test_scores_csv_is_derived_from_its_sources(tmp_path: Path) -> None:
    """Building the files again from tables, printed.csv and errata.csv gives the same bytes."""
    folder = tmp_path / "paper"
    folder.mkdir()
    for name in ("tables", "printed.csv", "errata.csv"):
        (folder / name).symlink_to(PAPER / name)
    paper_tables.build(folder)
    for name in ("scores.csv", "backbones.csv", "provenance.json"):
        assert (folder / name).read_bytes() == (PAPER / name).read_bytes(), name


def test_every_paper_backbone_has_its_metadata() -> None:
    """Every row has all its metadata, and a reason where the backbone is not ranked."""
    rows = read_backbones(PAPER)
    assert len(rows) == len({row.label for row in rows.values()}) == 44
    for row in rows.values():
        assert all((row.model, row.family, row.style, row.method, row.data, row.images, row.params, row.licence))
        assert bool(row.why) == (row.role == "reference")
    assert sum(row.style == "none" for row in rows.values()) == 9


def test_columns_are_linked_to_the_tables() -> None:
    """settings.py names every result column of the tables, and no other."""
    named = {c for s in SETTINGS.values() for m in s.measures for c in m.paper}
    assert named == {f"{t}:{c}" for t, _, c, _ in paper_tables.read_cells(PAPER)}
