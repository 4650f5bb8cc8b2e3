"""Where the animals are: detectors, and the boxes of other programs."""
