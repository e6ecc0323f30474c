"""Training and evaluation of detectors: Cascade Mask R-CNN on any backbone that gives feature maps."""
