"""Evaluation: labelled sets, frozen features, kNN and linear probe."""
