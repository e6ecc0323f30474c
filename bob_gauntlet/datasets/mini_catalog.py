"""Catalogue of the mini datasets, which are made from the packages of the `mini` extra."""

from dataclasses import replace

from bob_gauntlet.datasets.spec import DatasetSpec

_SCIKIT_IMAGE = "van der Walt et al., scikit-image: image processing in Python, PeerJ 2014"
_SCIKIT_LEARN = "Pedregosa et al., Scikit-learn: machine learning in Python, JMLR 2011"
_FONTS_CITATION = f"{_SCIKIT_LEARN}; Hunter, Matplotlib, Computing in Science & Engineering 2007"
_PICTURES = "BSD-3-Clause, CC0 and public-domain pictures; see the README of each package"
_FONTS = "fonts: DejaVu (Bitstream Vera licence, public domain), STIX (STIX Font License), Computer Modern (BaKoMa)"
_LOADERS = "bob_gauntlet.datasets.mini"


def _mini(name: str, module: str, source: str, citation: str, about: str, size: str, classes: str) -> DatasetSpec:
    """Return the spec of the dataset that `load_NAME` of a module of the mini package makes."""
    loader = f"{_LOADERS}.{module}:load_{name.replace('-', '_')}"
    return DatasetSpec(
        name=name,
        about=about,
        size=size,
        classes=classes,
        licence=_PICTURES,
        citation=citation,
        how_to_get='pip install "bob-gauntlet[mini]"',
        scale="mini",
        loader=loader,
        source=source,
        trains_on="photos" if module == "shifts" else "",
        packages=("scikit-image", "scikit-learn", "pillow", "numpy"),
    )


_SHIFT_SIZE = "420 train, 105 val, 420 source, 420 test"
_SCENES_SIZE = "240 train, 60 val, 120 test"

MINI = (
    _mini(
        "photos", "classification", "photos", _SCIKIT_IMAGE,
        "crops of 21 real photos; the class is the photo. Train, val and test use disjoint parts of each photo",
        "420 train, 105 val, 420 test", "21",
    ),
    _mini(
        "digits", "classification", "digits", _SCIKIT_LEARN,
        "handwritten digits of 8 x 8 pixels, split by index", "1,000 train, 300 val, 497 test", "10",
    ),
    replace(
        _mini(
            "digit-scenes", "scenes", "digits", f"{_SCIKIT_LEARN}; {_SCIKIT_IMAGE}",
            "crops of photos with 1 to 4 handwritten digits; the labels tell which of the ten digits are there "
            "(multi-label). A small twin of CheXpert",
            "400 train, 100 val, 300 test", "10",
        ),
        clusters_from="photos",
    ),
    _mini(
        "photos-instances", "retrieval", "photos", _SCIKIT_IMAGE,
        "retrieval: a query crop must find the gallery crops of the same quarter of the same photo",
        "168 queries, 420 gallery", "84",
    ),
    _mini(
        "copydays-mini", "retrieval", "photos", _SCIKIT_IMAGE,
        "copy detection: a query must find its copies after crop, JPEG, blur, colour, rotation and text attacks, "
        "among distractors",
        "63 queries, 462 gallery", "63",
    ),
    _mini(
        "photos-sketch", "shifts", "photos", _SCIKIT_IMAGE,
        "trained on photos, tested on sketches of the edges of its test crops. A small twin of ImageNet-Sketch",
        _SHIFT_SIZE, "21",
    ),
    _mini(
        "photos-rendition", "shifts", "photos", _SCIKIT_IMAGE,
        "trained on photos, tested on its test crops in few and other colours, with brush strokes. "
        "A small twin of ImageNet-R",
        _SHIFT_SIZE, "21",
    ),
    _mini(
        "photos-recollected", "shifts", "photos", _SCIKIT_IMAGE,
        "trained on photos, tested on new crops of another scale, viewpoint and brightness. "
        "A small twin of ImageNet-V2",
        _SHIFT_SIZE, "21",
    ),
    _mini(
        "photos-hard", "shifts", "photos", _SCIKIT_IMAGE,
        "trained on photos, tested on small, hazy and partly covered crops. A small twin of ImageNet-A",
        _SHIFT_SIZE, "21",
    ),
    replace(
        _mini(
            "fonts-digits", "fonts", "digits", _FONTS_CITATION,
            "trained on digits drawn in fonts, tested on handwritten digits. A small twin of VisDA",
            "1,000 train, 300 val, 300 source, 497 test", "10",
        ),
        licence=f"BSD-3-Clause; {_FONTS}",
        packages=("matplotlib", "scikit-learn", "pillow", "numpy"),
        # training is short, as on VisDA
        overrides={"finetune": {"epochs": 3}},
    ),
    _mini(
        "photo-scenes", "detection", "photos", f"{_SCIKIT_IMAGE}; {_SCIKIT_LEARN}",
        "detection: 0 to 5 objects with boxes and masks on a crop of a photo. Objects are handwritten digits (one "
        "class) and pieces of five other photos (a class each). A small twin of COCO",
        _SCENES_SIZE, "6",
    ),
    replace(
        _mini(
            "fonts-scenes", "detection", "digits", f"{_FONTS_CITATION}; {_SCIKIT_IMAGE}",
            "detection: trained on digits drawn in fonts on a flat colour, tested on handwritten digits on photos. "
            "A small twin of Sim10k to Cityscapes",
            _SCENES_SIZE, "1",
        ),
        licence=f"{_PICTURES}; {_FONTS}",
        clusters_from="photos",
        packages=("matplotlib", "scikit-image", "scikit-learn", "pillow", "numpy"),
    ),
    DatasetSpec(
        name="noise", about="seeded random pixels, to measure the speed of a network", size="any", classes="none",
        licence="none needed", citation="none", how_to_get="nothing to get, it is generated", scale="mini",
        loader="bob_gauntlet.datasets.noise:load_noise", source="noise",
    ),
)  # fmt: skip
"""Datasets of the mini scale."""
