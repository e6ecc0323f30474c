"""Judge a pretrained vision backbone: `pytest suites/ --backbone=mymodel`."""

__version__ = "0.1.0"
