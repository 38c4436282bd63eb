"""Protocols: each a torch-free spec and, beside it, the file that its builder names."""
