"""Rankings as tables, text, markdown."""
