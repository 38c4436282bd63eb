"""The version, which config files, pages and cards state."""

__version__ = "0.2.0.dev0"
