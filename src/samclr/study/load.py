"""Find the study that a command names: a ready one, or STUDY of a Python file."""

import importlib.util
from pathlib import Path

from samclr.errors import UsageError, did_you_mean
from samclr.study.recipe import Study
from samclr.study.studies import STUDIES

OTHERWISE = "give a name from `samclr study list`, or a Python file with STUDY = Study(...)"


def load_study(name_or_file: str) -> Study:
    """A ready study by its name, or a user's own.

    Raises:
        UsageError: no such study; a file that cannot be run, or that has no STUDY.
    """
    if name_or_file in STUDIES:
        return STUDIES[name_or_file]
    path = Path(name_or_file)
    if path.suffix != ".py":
        raise UsageError(f"no study {name_or_file!r}" + did_you_mean(name_or_file, STUDIES, otherwise=OTHERWISE))
    if not path.is_file():
        raise UsageError(f"no such file: {path}; expected a Python file with STUDY = Study(...)")
    spec = importlib.util.spec_from_file_location(f"samclr_study_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything
        raise UsageError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise UsageError(
            f"{path} has no study: expected STUDY = Study(...) of samclr.study, found {type(study).__name__}"
        )
    return study
