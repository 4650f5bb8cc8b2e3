"""The contrastive objective, the step and the loop that each worker runs."""
