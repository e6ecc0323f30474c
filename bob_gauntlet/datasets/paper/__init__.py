"""The paper's datasets, read from the layouts that their publishers ship."""
