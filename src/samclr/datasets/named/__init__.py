"""The data sets known by name: one file each, found by the registry."""
