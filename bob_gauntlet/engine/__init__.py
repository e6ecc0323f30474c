"""Everything that runs a network: feature extraction, linear heads, training, detection, attacks, timing."""
