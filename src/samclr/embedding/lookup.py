"""Rows of a folder of vectors by image and region, and what is nearest to a vector."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Float, Int

from samclr.embedding.mapped import Kind
from samclr.embedding.store import WHOLE_IMAGE
from samclr.embedding.vectors import Vectors
from samclr.errors import ScenesError, UsageError, did_you_mean, name_some
from samclr.scenes.refs import portable

IDS_COMPARED = 20_000  # names that an unknown one is compared with letter by letter


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a vector is of: a whole image, or one of its regions. box_xyxy: half-open, native px after EXIF rotation."""

    id: str
    region: int | None
    box_xyxy: tuple[int, int, int, int]
    area_px: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"box_xyxy": list(self.box_xyxy)}


def places_of(vectors: Vectors, kind: Kind, rows: Sequence[int] | Int[np.ndarray, "n"]) -> list[Place]:
    """What some vectors of a kind are of."""
    found = vectors.rows(kind).take(np.asarray(rows, np.int64)).to_pylist()
    return [
        Place(
            id=row["id"],
            region=None if row["region"] == WHOLE_IMAGE else row["region"],
            box_xyxy=tuple(row["box_xyxy"]),
            area_px=row["area_px"],
        )
        for row in found
    ]


def has_image(vectors: Vectors, image_id: str) -> bool:
    """Whether an image has a vector."""
    return bool(pc.index(vectors.rows("image")["id"], portable(image_id)).as_py() >= 0)


def row_of(vectors: Vectors, image_id: str, region: int | None = None) -> int:
    """The row, in `vectors.rows("all")`, of an image, or of one of its regions.

    Raises:
        ScenesError: there is no such image, or it has no such region.
    """
    table, image_id = vectors.rows("all"), portable(image_id)
    first = int(pc.index(table["id"], image_id).as_py())
    if first < 0:
        raise ScenesError(f"{vectors.path} has no image {image_id}{nearest_names(vectors, image_id)}")
    if region is None:
        return first
    numbers = table.slice(first).filter(pc.equal(table["id"].slice(first), image_id))["region"].to_pylist()
    if region not in numbers[1:]:
        known = f"it has {name_some([str(number) for number in numbers[1:]])}" if numbers[1:] else "it has none"
        raise ScenesError(f"{vectors.path} has no region {region} of {image_id}; {known}")
    return first + numbers.index(region)


def nearest_names(vectors: Vectors, image_id: str) -> str:
    """The end of a message about an id that no image has: the nearest that are known."""
    ids, image_id = vectors.rows("image")["id"], portable(image_id)
    name = image_id.rpartition("/")[2]
    same_file = ids.filter(pc.equal(pc.replace_substring_regex(ids, "^.*/", ""), name)).to_pylist()
    return did_you_mean(image_id, same_file or ids.slice(0, IDS_COMPARED).to_pylist())


def most_similar(
    vectors: Vectors,
    query: Float[np.ndarray, "d"],
    num: int,
    kind: Kind,
    without: int | None = None,
    index: Literal["exact", "faiss"] = "exact",
) -> list[tuple[float, Place]]:
    """Similarity and place of the `num` vectors of a kind that are nearest.

    without: a row of all that is left out. index: exact compares with every vector; faiss may miss a neighbour.

    Raises:
        UsageError: there are no vectors of the kind, or Faiss is not installed.
        EvaluationError: the query has no direction.
    """
    refuse_none(vectors, kind)
    k = num + (without is not None)
    if index == "exact":
        similarity, rows = vectors.search(query[None], k, kind)
    else:
        from samclr.embedding.approximate import nearest_by_index

        similarity, rows = nearest_by_index(vectors, query[None], k, kind)
        similarity, rows = similarity[:, rows[0] >= 0], rows[:, rows[0] >= 0]
    own = None if without is None else places_of(vectors, "all", [without])[0]
    found = list(zip(similarity[0].tolist(), places_of(vectors, kind, rows[0]), strict=True))
    return [(value, place) for value, place in found if place != own][:num]


def refuse_none(vectors: Vectors, kind: Kind) -> None:
    """Raise UsageError if there are no vectors of a kind."""
    if len(vectors.rows(kind)) == 0:
        hint = "; samclr embed makes some where it is given --regions" if kind == "region" else ""
        raise UsageError(f"{vectors.path} has no vectors of {kind}s{hint}")
