"""The paper's analyses as functions over a standing: any pool, and one's own backbones with it."""
