"""The synthetic tree of life: a random taxonomy, organisms whose looks descend along it, and the sources' formats."""
