"""Where work runs: local Ray, and jobs submitted to a cluster."""
