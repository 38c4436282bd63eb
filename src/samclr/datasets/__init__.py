"""Data sets by name, labelled sets, and what lists the scenes of any source."""
