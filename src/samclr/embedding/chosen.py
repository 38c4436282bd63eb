"""A diverse part of the images of a folder of vectors."""

from typing import Literal

import numpy as np

from samclr.embedding.lookup import refuse_none
from samclr.embedding.mapped import Kind
from samclr.embedding.select import Sets, covering, spread
from samclr.embedding.vectors import Vectors

Rule = Literal["kmeans++", "facility-location"]


def choose_images(
    vectors: Vectors, num: int, *, by: Rule = "kmeans++", kind: Kind = "image", seed: int = 0
) -> list[str]:
    """Ids of `num` images that differ, in the order in which they were chosen, by the rules of samclr.embedding.select.

    kind: by vectors of images, or of their regions, when an image brings all its objects. seed: of kmeans++.

    Raises:
        UsageError: there are fewer images with such vectors. PartsError: a part is damaged.
    """
    refuse_none(vectors, kind)
    ids = vectors.rows(kind)["id"].combine_chunks().dictionary_encode()
    sets = Sets(np.asarray(ids.indices, np.int64))
    matrix = vectors.matrix(kind)
    chosen = spread(matrix, sets, num, seed) if by == "kmeans++" else covering(matrix, sets, num)
    names = ids.dictionary.to_pylist()  # in the order of their first rows, as the sets are
    return [names[number] for number in chosen]
