"""The online classifier: Ray Serve in front of Triton."""
