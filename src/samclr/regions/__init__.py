"""Regions: records, the store, the coarsest filter, the index that training reads, and the segmenters."""
