"""Every dataset of the gauntlet: what it is, its licence, its source and how to get it. Nothing is loaded here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.scores import Scale


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A dataset before it is loaded."""

    name: str
    about: str
    # images per role or in all, and classes, as its publisher states them
    size: str
    classes: str
    licence: str
    citation: str
    how_to_get: str
    scale: Scale = "paper"
    # "module:function" that returns the Dataset; "" where this version has no reader
    loader: str = ""
    # pool of images that it is made from: settings that share one are not independent
    source: str = ""
    # version of the recipe that makes it, and the packages whose versions may change its pixels
    version: int = 1
    packages: tuple[str, ...] = ()


_SCIKIT_IMAGE = "van der Walt et al., scikit-image: image processing in Python, PeerJ 2014"
_SCIKIT_LEARN = "Pedregosa et al., Scikit-learn: machine learning in Python, JMLR 2011"
_LOADERS = "bob_gauntlet.datasets.mini"


def _mini(name: str, module: str, source: str, citation: str, about: str, size: str, classes: str) -> DatasetSpec:
    loader = f"{_LOADERS}.{module}:load_{name.replace('-', '_')}"
    return DatasetSpec(
        name=name,
        about=about,
        size=size,
        classes=classes,
        licence="BSD-3-Clause, public domain and CC0 pictures (README of each package)",
        citation=citation,
        how_to_get='comes with pip install "bob-gauntlet[mini]"',
        scale="mini",
        loader=loader,
        source=source,
        packages=("scikit-image", "scikit-learn", "pillow", "numpy"),
    )


def _paper(
    name: str, about: str, size: str, classes: str, licence: str, citation: str, get: str, source: str = ""
) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        about=about,
        size=size,
        classes=classes,
        licence=licence,
        citation=citation,
        how_to_get=get,
        source=source or name,
    )


_SHIFT_SIZE = "420 train, 105 val, 420 source, 420 test"
_RESEARCH = "non-commercial research and education"
_IMAGENET = "image-net.org, after registration"

CATALOG: Mapping[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        _mini(
            "photos", "classification", "photos", _SCIKIT_IMAGE,
            "which of 21 real photos a crop is from; roles come from disjoint parts of each photo",
            "420 train, 105 val, 420 test", "21",
        ),
        _mini(
            "digits", "classification", "digits", _SCIKIT_LEARN,
            "handwritten digits of 8 x 8 pixels, split by index", "1,000 train, 300 val, 497 test", "10",
        ),
        _mini(
            "photos-instances", "retrieval", "photos", _SCIKIT_IMAGE,
            "crops of the same quarter of a photo find each other", "168 queries, 420 gallery", "84",
        ),
        _mini(
            "copydays-mini", "retrieval", "photos", _SCIKIT_IMAGE,
            "copy detection: crop, JPEG, blur, colour, rotation and text attacks on photo regions, and distractors",
            "63 queries, 462 gallery", "63",
        ),
        _mini(
            "photos-sketch", "shifts", "photos", _SCIKIT_IMAGE,
            "trained on photos, tested on its test crops as edges alone; a small twin of ImageNet-Sketch",
            _SHIFT_SIZE, "21",
        ),
        _mini(
            "photos-rendition", "shifts", "photos", _SCIKIT_IMAGE,
            "trained on photos, tested on its test crops in a few other colours under brush strokes; "
            "a small twin of ImageNet-R",
            _SHIFT_SIZE, "21",
        ),
        _mini(
            "photos-recollected", "shifts", "photos", _SCIKIT_IMAGE,
            "trained on photos, tested on new crops of other scale, viewpoint and brightness; "
            "a small twin of ImageNet-V2",
            _SHIFT_SIZE, "21",
        ),
        _mini(
            "photos-hard", "shifts", "photos", _SCIKIT_IMAGE,
            "trained on photos, tested on small crops in haze, partly covered; a small twin of ImageNet-A",
            _SHIFT_SIZE, "21",
        ),
        replace(
            _mini(
                "fonts-digits", "fonts", "digits", _SCIKIT_LEARN,
                "trained on digits drawn in fonts, tested on handwritten ones; a small twin of VisDA",
                "1,000 train, 300 val, 300 source, 497 test", "10",
            ),
            licence="BSD-3-Clause; fonts: Bitstream Vera and public domain (DejaVu), STIX Font License, BaKoMa",
            citation=f"{_SCIKIT_LEARN}; Hunter, Matplotlib, Computing in Science & Engineering 2007",
            packages=("matplotlib", "scikit-learn", "pillow", "numpy"),
        ),
        DatasetSpec(
            name="noise", about="seeded random pixels, to time a network on", size="any", classes="none",
            licence="none needed", citation="none", how_to_get="made when needed", scale="mini",
            loader="bob_gauntlet.datasets.noise:load_noise", source="noise",
        ),
        _paper("imagenet-1k", "natural images", "1.28 M train, 50,000 val", "1,000", _RESEARCH,
               "Deng et al., ImageNet, CVPR 2009", _IMAGENET),
        _paper("cifar-100", "natural images of 32 x 32 pixels", "50,000 train, 10,000 test", "100", "not stated",
               "Krizhevsky, Learning multiple layers of features from tiny images, 2009", "torchvision CIFAR100"),
        _paper("flowers-102", "flowers", "1,020 train, 1,020 val, 6,149 test", "102", "not stated",
               "Nilsback and Zisserman, ICVGIP 2008", "torchvision Flowers102"),
        _paper("fgvc-aircraft", "aircraft variants", "3,334 train, 3,333 val, 3,333 test", "100", _RESEARCH,
               "Maji et al., arXiv 1306.5151", "torchvision FGVCAircraft"),
        _paper("eurosat", "Sentinel-2 satellite images in RGB", "27,000", "10", "MIT",
               "Helber et al., EuroSAT, JSTARS 2019", "torchvision EuroSAT"),
        _paper("chexpert", "chest radiographs, 5 findings", "191,027 frontal train, 202 frontal valid", "5",
               "Stanford research use agreement", "Irvin et al., CheXpert, AAAI 2019", "stanfordmlgroup.github.io"),
        _paper("coco-2017", "objects with boxes and masks", "118,287 train, 5,000 val", "80", "CC BY 4.0 (annotations)",
               "Lin et al., Microsoft COCO, ECCV 2014", "cocodataset.org"),
        _paper("lvis-v1", "COCO images, long-tailed classes", "100,170 train, 19,809 val", "1,203",
               "CC BY 4.0 (annotations)", "Gupta et al., LVIS, CVPR 2019", "lvisdataset.org", source="coco-2017"),
        _paper("imagenet-a", "natural adversarial examples", "7,500 test", "200", "MIT",
               "Hendrycks et al., CVPR 2021", "github.com/hendrycks/natural-adv-examples"),
        _paper("imagenet-r", "renditions: art, cartoons, toys", "30,000 test", "200", "MIT",
               "Hendrycks et al., ICCV 2021", "github.com/hendrycks/imagenet-r"),
        _paper("imagenet-sketch", "sketches", "50,889 test", "1,000", "MIT",
               "Wang et al., NeurIPS 2019", "github.com/HaohanWang/ImageNet-Sketch"),
        _paper("imagenet-v2", "re-collected test set, matched frequency", "10,000 test", "1,000", "MIT",
               "Recht et al., ICML 2019", "github.com/modestyachts/ImageNetV2"),
        _paper("visda-2017", "rendered objects to train, photos to test", "152,397 synthetic, 55,388 real", "12",
               "MIT", "Peng et al., arXiv 1710.06924", "github.com/VisionLearningGroup/taskcv-2017-public"),
        _paper("sim10k-cityscapes", "cars: rendered streets to train, Cityscapes to test", "10,000 train, 500 test",
               "1", _RESEARCH, "Johnson-Roberson et al., ICRA 2017; Cordts et al., CVPR 2016",
               "fcav.engin.umich.edu and cityscapes-dataset.com"),
        _paper("cub-200", "bird species", "11,788", "200", _RESEARCH, "Wah et al., 2011",
               "vision.caltech.edu/datasets/cub_200_2011"),
        _paper("inaturalist", "species, 5 images of each kept", "about 450,000", "over 1,000", _RESEARCH,
               "Van Horn et al., CVPR 2018", "github.com/visipedia/inat_comp"),
        _paper("objectnet", "objects in uncommon poses", "50,000", "313", "CC BY 4.0, for testing only",
               "Barbu et al., NeurIPS 2019", "objectnet.dev"),
        _paper("instre", "toys and household objects, subset S1", "about 28,000", "200", _RESEARCH,
               "Wang and Jiang, TOMM 2015", "the authors, on request"),
        _paper("gldv2", "landmarks of the world", "over 1 M index, 118,000 queries", "over 1,000",
               "CC BY 4.0 (annotations)", "Weyand et al., CVPR 2020", "github.com/cvdfoundation/google-landmark"),
        _paper("roxford5k", "buildings of Oxford, medium protocol", "70 queries, 4,993 gallery", "11", _RESEARCH,
               "Radenovic et al., CVPR 2018", "cmp.felk.cvut.cz/revisitop"),
        _paper("rparis6k", "buildings of Paris, medium protocol", "70 queries, 6,322 gallery", "11", _RESEARCH,
               "Radenovic et al., CVPR 2018", "cmp.felk.cvut.cz/revisitop"),
        _paper("copydays", "copy detection, strong attacks", "157 originals, 229 strong copies", "157", _RESEARCH,
               "Douze et al., CIVR 2009", "lear.inrialpes.fr/~jegou/data.php"),
    )
}  # fmt: skip
"""Dataset name -> what it is."""


def find(name: str) -> DatasetSpec:
    """The dataset of that name; UsageError with the nearest names where there is none."""
    if name not in CATALOG:
        raise UsageError(f"unknown dataset {name!r}{nearest(name, CATALOG)}")
    return CATALOG[name]


def describe(name: str) -> str:
    """A page on one dataset, as `bob data NAME` prints it."""
    spec = find(name)
    rows = {
        "dataset": spec.name,
        "about": spec.about,
        "scale": spec.scale,
        "images": spec.size,
        "classes": spec.classes,
        "licence": spec.licence,
        "citation": spec.citation,
        "how to get it": spec.how_to_get,
        "reader": "in this version" if spec.loader else "not in this version yet",
    }
    return "\n".join(f"{field:14} {value}" for field, value in rows.items())
