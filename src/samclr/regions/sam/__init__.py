"""The SAM family: transformers' model classes, driven by our own mask generator."""
