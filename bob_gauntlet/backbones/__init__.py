"""Pretrained backbones: specs and the zoo of known names (cheap to import), and loading (imports torch and timm)."""
