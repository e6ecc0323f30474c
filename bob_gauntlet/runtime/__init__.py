"""The tools of a run: artefacts, devices, progress and the context of an evaluation."""
