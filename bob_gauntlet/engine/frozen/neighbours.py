"""k nearest neighbours by cosine similarity with the temperature-weighted vote of DINO (Caron et al., ICCV 2021)."""

from collections.abc import Sequence

import numpy as np
import torch

from bob_gauntlet.errors import NotFiniteError

_BLOCK = 256


def votes(
    queries: np.ndarray,
    bank: np.ndarray,
    targets: np.ndarray,
    classes: int,
    ks: Sequence[int],
    *,
    temperature: float = 0.07,
    device: str = "cpu",
) -> dict[int, np.ndarray]:
    """Return for each k the summed votes of the k nearest neighbours, (Q, C) float64.

    `queries` are (Q, D) features, `bank` (N, D) features of the neighbours, `targets` (N,) their class indices. A
    neighbour of cosine similarity s votes exp(s / temperature) for its class. Multi-label targets (N, C) {0, 1} vote
    for each of their labels. Raises NotFiniteError where a feature is NaN or infinite.
    """
    stored = l2_normalise(bank, device)
    labels = np.eye(classes)[targets] if targets.ndim == 1 else targets.astype(np.float64)
    blocks_by_k: dict[int, list[np.ndarray]] = {k: [] for k in ks}
    for start in range(0, len(queries), _BLOCK):
        similarity = l2_normalise(queries[start : start + _BLOCK], device) @ stored.T
        values, indices = similarity.topk(min(max(ks), len(bank)), dim=1)
        # relative to the nearest neighbour, so that exp cannot overflow
        weights = ((values - values[:, :1]) / temperature).double().exp().cpu().numpy()
        neighbours = labels[indices.cpu().numpy()]
        for k in ks:
            blocks_by_k[k].append(np.einsum("qk,qkc->qc", weights[:, :k], neighbours[:, :k]))
    return {k: np.concatenate(blocks) for k, blocks in blocks_by_k.items()}


def l2_normalise(features: np.ndarray, device: str = "cpu") -> torch.Tensor:
    """Return (N, D) features as float32 on the device, each row divided by its length; a row of zeros stays zero.

    Raises NotFiniteError where a feature is NaN or infinite, or where the length of a row is too large for float32.
    """
    rows = torch.from_numpy(np.asarray(features, np.float32)).to(device)
    if not rows.norm(dim=1).isfinite().all():
        raise NotFiniteError(
            "features are NaN, infinite, or too large to be normalised in float32; check the checkpoint and its input "
            "normalisation"
        )
    return torch.nn.functional.normalize(rows, dim=1)
