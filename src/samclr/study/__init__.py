"""Studies: a grid of runs under one budget, carried out, measured and compared.

A file of one's own, for `samclr study run FILE.py`, takes these names and ends with `STUDY = Study(...)`.
"""

from samclr.study.recipe import Evaluation, Grid, Metric, Reference, Study, Variant, usual_metrics

__all__ = ["Evaluation", "Grid", "Metric", "Reference", "Study", "Variant", "usual_metrics"]
