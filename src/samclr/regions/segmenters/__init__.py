"""Segmenters: from a batch of scenes to a batch of regions. One a file, beside it a spec that imports nothing heavy."""
