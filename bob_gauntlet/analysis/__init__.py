"""The paper's analyses, as functions of a score table: for any pool, with or without the user's own backbones."""
