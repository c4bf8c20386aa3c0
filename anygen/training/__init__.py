"""Training: stages, data, checkpoints and one visible loop."""
