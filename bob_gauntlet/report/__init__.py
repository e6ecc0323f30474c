"""Reports: rankings and scores as HTML, Markdown, CSV, JSON and text."""
