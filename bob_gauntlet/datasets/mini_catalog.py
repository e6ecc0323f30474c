"""The datasets that come with the packages of the `mini` extra."""

from dataclasses import replace

from bob_gauntlet.datasets.spec import DatasetSpec

_SCIKIT_IMAGE = "van der Walt et al., scikit-image: image processing in Python, PeerJ 2014"
_SCIKIT_LEARN = "Pedregosa et al., Scikit-learn: machine learning in Python, JMLR 2011"
_FONTS_CITATION = f"{_SCIKIT_LEARN}; Hunter, Matplotlib, Computing in Science & Engineering 2007"
_PICTURES = "BSD-3-Clause, public domain and CC0 pictures (README of each package)"
_FONTS = "fonts: Bitstream Vera and public domain (DejaVu), STIX Font License, BaKoMa"
_LOADERS = "bob_gauntlet.datasets.mini"


def _mini(name: str, module: str, source: str, citation: str, about: str, size: str, classes: str) -> DatasetSpec:
    loader = f"{_LOADERS}.{module}:load_{name.replace('-', '_')}"
    return DatasetSpec(
        name=name,
        about=about,
        size=size,
        classes=classes,
        licence=_PICTURES,
        citation=citation,
        how_to_get='comes with pip install "bob-gauntlet[mini]"',
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
        "which of 21 real photos a crop is from; roles come from disjoint parts of each photo",
        "420 train, 105 val, 420 test", "21",
    ),
    _mini(
        "digits", "classification", "digits", _SCIKIT_LEARN,
        "handwritten digits of 8 x 8 pixels, split by index", "1,000 train, 300 val, 497 test", "10",
    ),
    _mini(
        "digit-scenes", "scenes", "digits", f"{_SCIKIT_LEARN}; {_SCIKIT_IMAGE}",
        "which of the ten digits occur among the 1 to 4 handwritten ones on a crop of a photo, several labels "
        "an image; a small twin of CheXpert",
        "400 train, 100 val, 300 test", "10",
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
            "fonts-digits", "fonts", "digits", _FONTS_CITATION,
            "trained on digits drawn in fonts, tested on handwritten ones; a small twin of VisDA",
            "1,000 train, 300 val, 300 source, 497 test", "10",
        ),
        licence=f"BSD-3-Clause; {_FONTS}",
        packages=("matplotlib", "scikit-learn", "pillow", "numpy"),
        # VisDA's training is short, too
        overrides={"finetune": {"epochs": 4}},
    ),
    _mini(
        "photo-scenes", "detection", "photos", f"{_SCIKIT_IMAGE}; {_SCIKIT_LEARN}",
        "0 to 5 objects on a crop of a photo, with boxes and masks: handwritten digits, one class, and pieces of five "
        "other photos; a small twin of COCO",
        _SCENES_SIZE, "6",
    ),
    replace(
        _mini(
            "fonts-scenes", "detection", "digits", f"{_FONTS_CITATION}; {_SCIKIT_IMAGE}",
            "trained to find digits drawn in fonts on flat colour, tested on handwritten ones on photos; a small twin "
            "of Sim10k to Cityscapes",
            _SCENES_SIZE, "1",
        ),
        licence=f"{_PICTURES}; {_FONTS}",
        packages=("matplotlib", "scikit-image", "scikit-learn", "pillow", "numpy"),
    ),
    DatasetSpec(
        name="noise", about="seeded random pixels, to time a network on", size="any", classes="none",
        licence="none needed", citation="none", how_to_get="made when needed", scale="mini",
        loader="bob_gauntlet.datasets.noise:load_noise", source="noise",
    ),
)  # fmt: skip
"""What runs at mini scale."""
