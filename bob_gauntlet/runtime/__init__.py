"""What a run uses: artefacts, devices, progress and the context of an evaluation."""
