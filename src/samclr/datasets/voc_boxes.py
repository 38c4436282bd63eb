"""Pascal VOC's XML: the boxes, classes and flags of an image's objects.

VOC counts pixels from 1 and its boxes hold their last one, so xmin 1 and xmax W are the whole width: 0 to W half-open.
Parts of people (head, hand, foot) stand within their object and are none themselves. Objects may be truncated, which
changes nothing, or difficult. Some files of 2011 and 2012 have fractions of pixels, and leave flags out that are 0.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from samclr.datasets.catalogue import LabelledBox
from samclr.errors import EvaluationError, name_some

CORNERS = ("xmin", "ymin", "xmax", "ymax")
FLAGS = {None: False, "0": False, "1": True}


def read_objects(path: Path, classes: Sequence[str], size_hw: tuple[int, int]) -> list[LabelledBox]:
    """The objects of an image, in the order of its file. size_hw: rows and columns of the image.

    Raises:
        EvaluationError: the file is missing, is not VOC's XML, is of an image of another size, or has an object with
            an unknown class, without a box, or with an odd flag.
    """
    try:
        tree = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise EvaluationError(f"{path} is missing: it has the boxes of its image") from None
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: its encoding
        raise EvaluationError(f"cannot read {path}: {error}; expected Pascal VOC's XML") from None
    if tree.tag != "annotation":
        raise EvaluationError(f"{path} holds <{tree.tag}>; expected Pascal VOC's <annotation>")
    _check_size(path, tree, size_hw)
    return [
        _read_object(one, f"{path}, object {number}", classes) for number, one in enumerate(tree.findall("object"), 1)
    ]


def _check_size(path: Path, tree: ElementTree.Element, size_hw: tuple[int, int]) -> None:
    """Tools that do not know the size write 0, or leave it out."""
    stated = [_text(tree.find(f"size/{side}")) for side in ("height", "width")]
    if all(one in (None, "0") for one in stated) or stated == [str(side) for side in size_hw]:
        return
    raise EvaluationError(
        f"{path} is of an image of {stated[1]}x{stated[0]} px; the image is {size_hw[1]}x{size_hw[0]} px upright: it "
        f"is another one, or was resized or turned"
    )


def _read_object(one: ElementTree.Element, where: str, classes: Sequence[str]) -> LabelledBox:
    name, flag = _text(one.find("name")), _text(one.find("difficult"))
    if name not in classes:
        raise EvaluationError(f"{where} is of the class {name}; expected one of {name_some(list(classes), 30)}")
    if flag not in FLAGS:
        raise EvaluationError(f"{where}: difficult is {flag}; expected 0 or 1")
    stated = [_text(one.find(f"bndbox/{corner}")) for corner in CORNERS]
    try:
        x0, y0, x1, y1 = (float(corner or "") for corner in stated)
        if not all(map(math.isfinite, (x0, y0, x1, y1))):
            raise ValueError
    except ValueError:
        raise EvaluationError(
            f"{where} has the box {', '.join(map(str, stated))}; expected the numbers {', '.join(CORNERS)} in px"
        ) from None
    return LabelledBox((x0 - 1, y0 - 1, x1, y1), classes.index(name), is_difficult=FLAGS[flag])


def _text(found: ElementTree.Element | None) -> str | None:
    return None if found is None or found.text is None else found.text.strip()
