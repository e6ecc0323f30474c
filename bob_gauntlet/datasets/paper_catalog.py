"""Catalogue of the paper's datasets, which a user gets from their publishers."""

from collections.abc import Mapping
from typing import Any

from bob_gauntlet.datasets.spec import DatasetSpec


def _paper(
    name: str, about: str, size: str, classes: str, licence: str, citation: str, get: str, source: str = ""
) -> DatasetSpec:
    """Return the spec of a dataset of the paper, with its entries in the tables below."""
    return DatasetSpec(
        name=name,
        about=about,
        size=size,
        classes=classes,
        licence=licence,
        citation=citation,
        how_to_get=get.format(name=name),
        source=source or name,
        loader=f"bob_gauntlet.datasets.paper.{_READERS[name]}" if name in _READERS else "",
        layout=_LAYOUTS.get(name, ""),
        downloadable=name in _DOWNLOADABLE,
        needs=_NEEDS.get(name, ()),
        combined=name == "sim10k-cityscapes",
        trains_on="imagenet-1k" if name in _SHIFTED else "",
        overrides=_OVERRIDES.get(name, {}),
        beside=_BESIDE.get(name, ()),
    )


_OVERRIDES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    # paper, section 3.3: 10 epochs, batches of 64, one learning rate
    "visda-2017": {
        "finetune": {"epochs": 10, "batch": 64, "lrs": (1e-3,), "scratch_lrs": (), "weight_decays": (5e-2,)},
    },
    # the command in the README of the original code, which follows Medical MAE
    "chexpert": {
        "finetune": {
            "lrs": (1e-3,),
            "scratch_lrs": (),
            "weight_decays": (1e-3,),
            "warmup_epochs": 10,
            "min_lr": 1e-5,
            "drop_path": 0.2,
            "mixup": 0.0,
            "cutmix": 0.0,
            "erasing": 0.0,
            "auto_augment": "rand-m6-mstd0.5-inc1",
        }
    },
    # MMDetection's settings for LVIS (Gupta et al., CVPR 2019): rare classes are sampled more often, and more and less
    # certain detections are kept
    "lvis-v1": {"detection-finetune": {"rare_below": 1e-3, "detections": 300, "least_score": 1e-4}},
    # configurations of the original code: jitter for every backbone, tests at 1024 x 512, one learning rate
    "sim10k-cityscapes": {
        f"detection-{mode}": {"augmentation": "jitter", "jitter_short": 512, "lrs": (1e-4,)}
        for mode in ("frozen", "finetune")
    },
}
_SHIFTED = ("imagenet-a", "imagenet-r", "imagenet-sketch", "imagenet-v2")
_NEEDS = {
    **dict.fromkeys(_SHIFTED, ("imagenet-1k",)),
    "lvis-v1": ("coco-2017",),
    "sim10k-cityscapes": ("sim10k", "cityscapes"),
}
_BESIDE = {
    "imagenet-1k": ("LOC_val_solution.csv",),
    "eurosat": ("split_zhou_EuroSAT.json", "eurosat_split.json"),
}
_DOWNLOADABLE = ("cifar-100", "flowers-102", "fgvc-aircraft", "eurosat")
_READERS = {
    "imagenet-1k": "imagenet:load_imagenet_1k",
    **{name: f"shifted:load_{name.replace('-', '_')}" for name in _SHIFTED},
    **{name: f"torchvision_sets:load_{name.replace('-', '_')}" for name in _DOWNLOADABLE},
    "visda-2017": "visda:load_visda_2017",
    "chexpert": "chexpert:load_chexpert",
    "coco-2017": "coco:load_coco_2017",
    "lvis-v1": "coco:load_lvis_v1",
    "sim10k": "sim10k:load_sim10k",
    "cityscapes": "cityscapes:load_cityscapes",
    "sim10k-cityscapes": "sim10k:load_sim10k_cityscapes",
}
# each layout names the files that its reader needs; a line that begins with "or" is another layout that it reads
_TREE = "or train/, test/ and optionally val/, each with a folder of images per class"
_WNIDS = "n01443537/*.jpg ... a folder per class, named by its WordNet id; also imagenet-1k in its own folder"
_LAYOUTS = {
    "imagenet-1k": """\
train/n01440764/*.JPEG ... a folder per class
val/n01440764/*.JPEG ...
or Data/CLS-LOC/train/ as above, and Data/CLS-LOC/val/ILSVRC2012_val_*.JPEG with
   LOC_val_solution.csv, or with ILSVRC2012_validation_ground_truth.txt and meta.mat of the devkit
1percent.txt, 10percent.txt (optional: SimCLR's lists, here or in imagenet_subsets/)""",
    "cifar-100": f"cifar-100-python/train, test, meta\n{_TREE}",
    "flowers-102": f"flowers-102/jpg/image_00001.jpg ..., imagelabels.mat, setid.mat\n{_TREE}",
    "fgvc-aircraft": (
        f"fgvc-aircraft-2013b/data/images/*.jpg, images_variant_train.txt, _val.txt, _test.txt, variants.txt\n{_TREE}"
    ),
    "eurosat": f"eurosat/2750/Forest/*.jpg ..., split_zhou_EuroSAT.json (optional: CoOp's split)\n{_TREE}",
    "chexpert": """\
CheXpert-v1.0-small/ or CheXpert-v1.0/
    train.csv, valid.csv
    train/patient00001/study1/view1_frontal.jpg ..., valid/ ...""",
    "imagenet-a": _WNIDS,
    "imagenet-r": _WNIDS,
    "imagenet-sketch": _WNIDS,
    "imagenet-v2": "0/*.jpeg ... 999/*.jpeg, or folders named by WordNet ids; also imagenet-1k in its own folder",
    "visda-2017": "train/aeroplane/*.png ... 12 folders, validation/aeroplane/*.jpg ...",
    "coco-2017": """\
annotations/instances_train2017.json, instances_val2017.json
train2017/000000000009.jpg ..., val2017/000000000139.jpg ...""",
    "lvis-v1": """\
lvis_v1_train.json, lvis_v1_val.json (or in annotations/)
coco-2017 in its own folder, for the images""",
    "sim10k": "VOC2012/Annotations/*.xml, VOC2012/JPEGImages/*.jpg (or without VOC2012/)",
    "cityscapes": """\
gtFine/val/frankfurt/*_gtFine_polygons.json ... a folder per city
leftImg8bit/val/frankfurt/*_leftImg8bit.png ...""",
    "sim10k-cityscapes": "sim10k and cityscapes, each in its own folder",
}

_RESEARCH = "for non-commercial research and education"
_FREE = "its publisher, with `bob data {name} --download` or pytest --bob-download"
_IMAGENET = "image-net.org (registration needed)"

PAPER = (
    _paper("imagenet-1k", "natural images", "1.28 M train, 50,000 val", "1,000", _RESEARCH,
           "Deng et al., ImageNet, CVPR 2009", _IMAGENET),
    _paper("cifar-100", "natural images of 32 x 32 pixels", "50,000 train, 10,000 test", "100", "not stated",
           "Krizhevsky, Learning multiple layers of features from tiny images, 2009", _FREE),
    _paper("flowers-102", "flowers", "1,020 train, 1,020 val, 6,149 test", "102", "not stated",
           "Nilsback and Zisserman, ICVGIP 2008", _FREE),
    _paper("fgvc-aircraft", "aircraft variants", "3,334 train, 3,333 val, 3,333 test", "100", _RESEARCH,
           "Maji et al., arXiv 1306.5151", _FREE),
    _paper("eurosat", "Sentinel-2 satellite images in RGB; a tenth of the train split is trained on", "27,000", "10",
           "MIT", "Helber et al., EuroSAT, JSTARS 2019", _FREE),
    _paper("chexpert", "chest radiographs with 5 findings (multi-label); frontal views, a tenth of train is used",
           "191,027 frontal train, 202 frontal valid", "5",
           "Stanford research use agreement", "Irvin et al., CheXpert, AAAI 2019", "stanfordmlgroup.github.io"),
    _paper("coco-2017", "objects with boxes and masks", "118,287 train, 5,000 val", "80", "CC BY 4.0 (annotations)",
           "Lin et al., Microsoft COCO, ECCV 2014", "cocodataset.org"),
    _paper("lvis-v1", "objects of many rare classes on COCO's images", "100,170 train, 19,809 val", "1,203",
           "CC BY 4.0 (annotations)", "Gupta et al., LVIS, CVPR 2019", "lvisdataset.org", source="coco-2017"),
    _paper("imagenet-a", "natural adversarial examples: photos that networks get wrong", "7,500 test", "200", "MIT",
           "Hendrycks et al., CVPR 2021", "github.com/hendrycks/natural-adv-examples"),
    _paper("imagenet-r", "renditions of ImageNet classes: art, cartoons, toys", "30,000 test", "200", "MIT",
           "Hendrycks et al., ICCV 2021", "github.com/hendrycks/imagenet-r"),
    _paper("imagenet-sketch", "sketches of ImageNet classes", "50,889 test", "1,000", "MIT",
           "Wang et al., NeurIPS 2019", "github.com/HaohanWang/ImageNet-Sketch"),
    _paper("imagenet-v2", "a later test set for ImageNet, matched frequency", "10,000 test", "1,000", "MIT",
           "Recht et al., ICML 2019", "github.com/modestyachts/ImageNetV2"),
    _paper("visda-2017", "trained on rendered objects, tested on photos; source: 2% of the rendered, not trained on",
           "152,397 synthetic, 55,388 real", "12", "MIT",
           "Peng et al., arXiv 1710.06924", "github.com/VisionLearningGroup/taskcv-2017-public"),
    _paper("sim10k", "cars on rendered streets; used to train sim10k-cityscapes", "10,000 train", "1", _RESEARCH,
           "Johnson-Roberson et al., Driving in the matrix, ICRA 2017",
           "fcav.engin.umich.edu/projects/driving-in-the-matrix"),
    _paper("cityscapes", "cars on streets of German cities; used to test sim10k-cityscapes", "500 val", "1",
           "Cityscapes terms of use (non-commercial research and teaching)", "Cordts et al., Cityscapes, CVPR 2016",
           "cityscapes-dataset.com (registration needed): leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip"),
    _paper("sim10k-cityscapes", "cars: trained on rendered streets, tested on Cityscapes", "10,000 train, 500 test",
           "1", _RESEARCH, "Johnson-Roberson et al., ICRA 2017; Cordts et al., CVPR 2016",
           "fcav.engin.umich.edu and cityscapes-dataset.com"),
    _paper("cub-200", "bird species", "11,788", "200", _RESEARCH, "Wah et al., 2011",
           "vision.caltech.edu/datasets/cub_200_2011"),
    _paper("inaturalist", "species; 5 images of each are used", "about 450,000", "over 1,000", _RESEARCH,
           "Van Horn et al., CVPR 2018", "github.com/visipedia/inat_comp"),
    _paper("objectnet", "objects in uncommon poses", "50,000", "313", "CC BY 4.0, only for testing",
           "Barbu et al., NeurIPS 2019", "objectnet.dev"),
    _paper("instre", "toys and household objects, subset S1", "about 28,000", "200", _RESEARCH,
           "Wang and Jiang, TOMM 2015", "the authors, on request"),
    _paper("gldv2", "landmarks of the world", "over 1 M index, 118,000 queries", "over 1,000",
           "CC BY 4.0 (annotations)", "Weyand et al., CVPR 2020", "github.com/cvdfoundation/google-landmark"),
    _paper("roxford5k", "buildings of Oxford, medium protocol", "70 queries, 4,993 gallery", "11", _RESEARCH,
           "Radenovic et al., CVPR 2018", "cmp.felk.cvut.cz/revisitop"),
    _paper("rparis6k", "buildings of Paris, medium protocol", "70 queries, 6,322 gallery", "11", _RESEARCH,
           "Radenovic et al., CVPR 2018", "cmp.felk.cvut.cz/revisitop"),
    _paper("copydays", "copy detection after strong attacks", "157 originals, 229 strong copies", "157", _RESEARCH,
           "Douze et al., CIVR 2009", "lear.inrialpes.fr/~jegou/data.php"),
)  # fmt: skip
"""Datasets of the paper scale."""
