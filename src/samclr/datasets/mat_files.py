"""Label maps in MATLAB's files, as SBD and Pascal Context are released, up to version 7 of the format (not HDF5)."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from samclr.errors import name_some
from samclr.scenes.images import MAX_IMAGE_PX

SUFFIX = ".mat"
FIELDS: dict[str, str | None] = {"GTcls": "Segmentation", "GTinst": "Segmentation", "LabelMap": None}
"""Variables that hold a label map, and the field of those that are structs: SBD's two, and Pascal Context's."""


class MatError(ValueError):
    """A MATLAB file without a usable label map; the text goes into an error's message."""


def read_mat(path: Path) -> Int[np.ndarray, "h w"]:
    """The label map of the one variable of FIELDS that a file has.

    Raises:
        MatError: the file is missing, broken or of version 7.3, has none of them or several, or it holds no ids.
    """
    from scipy.io import loadmat, whosmat

    try:
        with path.open("rb") as file:
            names = [name for name, *_ in whosmat(file)]
            known = [name for name in FIELDS if name in names]
            if len(known) != 1:
                wanted = f"expected one of {', '.join(FIELDS)}"
                raise MatError(f"it has the variables {name_some(names) or 'none'}; {wanted}")
            file.seek(0)
            found: Any = loadmat(file, variable_names=known)[known[0]]
    except MatError:
        raise
    except FileNotFoundError:
        raise MatError("no such file") from None
    except NotImplementedError:
        raise MatError("it is of MATLAB's version 7.3 (HDF5); save it anew with -v7") from None
    except Exception as error:  # scipy raises anything on broken bytes
        raise MatError(f"{type(error).__name__}: {error}") from error
    if (field := FIELDS[known[0]]) is not None:
        if found.shape != (1, 1) or found.dtype.names is None or field not in found.dtype.names:
            raise MatError(f"its {known[0]} has no field {field}")
        found = found[0, 0][field]
    return _as_ids(found, known[0] if field is None else f"{known[0]}.{field}")


def _as_ids(values: Any, name: str) -> Int[np.ndarray, "h w"]:
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "biuf":
        raise MatError(f"its {name} is not a matrix of numbers")
    if values.size > MAX_IMAGE_PX:
        raise MatError(f"it is {values.shape[1]}x{values.shape[0]} px; at most {MAX_IMAGE_PX:,} px are read")
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.floor(values)).all()):
        raise MatError(f"its {name} has fractions; expected ids")
    return values.astype(np.int64)
