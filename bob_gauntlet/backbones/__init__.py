"""Backbones: light specs and the zoo of known names; loading them is the heavy part."""
