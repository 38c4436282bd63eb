"""Training: one loop, its data, optimiser and log."""
