"""Pictures as `engine.detection.pictures` stores them: small grey images with objects and detections."""

import base64
import io
from typing import Any

from PIL import Image


def box(name: str, label: int, score: float | None = None, at: Any = (20, 30, 40, 20)) -> dict[str, Any]:
    """Return an object without a mask, or a detection if there is a score."""
    stored = {"box": list(at), "label": label, "class": name, "outline": []}
    return {**stored, "crowd": False} if score is None else {**stored, "score": score}


def masked_detection(name: str, label: int) -> dict[str, Any]:
    """Return a detection with a mask: a triangle in the lower left quarter of 200 x 100 pixels."""
    return {**box(name, label, 0.5, (0, 50, 100, 50)), "outline": [[0, 50, 100, 100, 0, 100]]}


def stored_picture(objects: Any = (), detections: Any = (), name: str = "scene-7", grey: int = 0) -> dict[str, Any]:
    """Return a picture of 200 x 100 pixels of one grey."""
    file = io.BytesIO()
    Image.new("RGB", (200, 100), (grey, grey, grey)).save(file, "JPEG")
    packed = base64.b64encode(file.getvalue()).decode()
    return {
        "id": name, "width": 200, "height": 100, "jpeg": packed, "objects": list(objects),
        "detections": list(detections),
    }  # fmt: skip


def stored_pictures(*pictures: dict[str, Any]) -> dict[str, Any]:
    """Return the stored pictures of one split."""
    return {"role": "test", "images": 120, "least_score": 0.3, "most": 25, "pictures": list(pictures)}
