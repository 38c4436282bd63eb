"""Scenes: where images come from, how they are decoded, and the bank of decoded pixels."""
