"""Vectors of images and objects, kept in files: made, searched, looked through for near-duplicates and thinned out."""
