"""Vectors of the scenes' objects: which are alike, and a map of them in two dimensions."""

import importlib.util
import threading
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from samclr.embedding.vectors import Vectors
from samclr.errors import ConfigError
from samclr.log import say
from samclr.regions.columns import RegionColumns

Method = Literal["pca", "umap"]
MOST_POINTS = {"pca": 20_000, "umap": 5_000}
MAP_SEED = 0
NO_SCENE = -1


@dataclass(frozen=True, kw_only=True)
class ObjectMap:
    """Places of some objects in the plane, each axis from 0 to 1. row [m]: numbers of the vectors."""

    row: Int[np.ndarray, "m"]
    place_xy: Float[np.ndarray, "m 2"]
    total: int


class Objects:
    """The regions' vectors, by scene and region. scene [n]: numbers of the scenes, NO_SCENE of others."""

    def __init__(self, vectors: Vectors, image_ids: list[str], columns: RegionColumns | None = None):
        """columns: the store's regions of these images; vectors of other ones are left out, and said.

        Raises:
            PartsError: a part is damaged.
        """
        self.vectors = vectors
        rows = self.vectors.rows("region")
        found = pc.index_in(rows["id"], pa.array(image_ids, pa.string())).combine_chunks()
        self.scene: np.ndarray = pc.fill_null(found, NO_SCENE).to_numpy(zero_copy_only=False)
        self.region: np.ndarray = rows["region"].to_numpy()
        if len(self.scene) and (self.scene == NO_SCENE).any():
            say(f"{int((self.scene == NO_SCENE).sum()):,} vectors of {vectors.path} are of other scenes")
        if columns is not None:
            self._leave_out_others(columns)
        self._maps: dict[str, ObjectMap] = {}
        self._making = threading.Lock()

    def _leave_out_others(self, columns: RegionColumns) -> None:
        """Scenes whose regions in the store are not those that were embedded: a number there means another object."""
        rows = self.vectors.rows("region")
        known = np.flatnonzero(self.scene != NO_SCENE)
        scene, region = self.scene[known], self.region[known]
        number = columns.start[scene] + region
        is_other = number >= columns.start[scene + 1]
        there = known[~is_other]
        boxes = rows["box_xyxy"].combine_chunks().flatten().to_numpy().reshape(-1, 4)
        areas, number = rows["area_px"].to_numpy(), number[~is_other]
        is_same = (boxes[there] == columns.box_xyxy[number]).all(1) & (areas[there] == columns.area_px[number])
        is_other[~is_other] = ~is_same
        others = np.unique(scene[is_other])
        if len(others):
            self.scene = np.where(np.isin(self.scene, others), NO_SCENE, self.scene)
            say(
                f"{len(others):,} scenes have other regions in the store than in {self.vectors.path}, and are left out "
                f"of what is similar: run samclr embed with --replace-changed"
            )

    def row_of(self, scene: int, region: int) -> int | None:
        """The number of an object's vector; None if it has none."""
        found = np.flatnonzero((self.scene == scene) & (self.region == region))
        return int(found[0]) if len(found) else None

    def box(self, row: int) -> list[int]:
        """The object's box_xyxy, in pixels of its image."""
        return [int(side) for side in self.vectors.rows("region")["box_xyxy"][row].as_py()]

    def shown(self, row: int) -> dict[str, Any]:
        """An object as JSON takes it."""
        return {"row": row, "scene": int(self.scene[row]), "region": int(self.region[row])}

    def similar(self, row: int, count: int) -> list[dict[str, Any]]:
        """The most similar objects of these scenes, but for itself, with their cosine similarity."""
        query = np.asarray(self.vectors.matrix("region")[row : row + 1], np.float32)
        total = len(self.scene)
        k = min(count + 1, total)
        while True:
            similarity, rows = self.vectors.search(query, k, "region")
            pairs = zip(similarity[0].tolist(), rows[0].tolist(), strict=True)
            shown = [(cosine, other) for cosine, other in pairs if other != row and self.scene[other] != NO_SCENE]
            if len(shown) >= count or k == total:
                return [self.shown(other) | {"similarity": cosine} for cosine, other in shown[:count]]
            k = min(4 * k, total)

    def map(self, method: str) -> ObjectMap:
        """All objects in the plane, or a sample of them.

        Raises:
            ConfigError: the method is unknown, or not installed.
        """
        if method not in get_args(Method):
            raise ConfigError(f"method is {method[:40]!r}; expected one of {', '.join(get_args(Method))}", "method")
        if method == "umap" and importlib.util.find_spec("umap") is None:
            raise ConfigError("method is umap, which needs a package: pip install 'samclr[umap]'", "method")
        with self._making:
            if method not in self._maps:
                self._maps[method] = self._make_map(method)
            return self._maps[method]

    def _make_map(self, method: str) -> ObjectMap:
        known = np.flatnonzero(self.scene != NO_SCENE)
        most = MOST_POINTS[method]
        chosen = np.random.default_rng(MAP_SEED).permutation(known)[:most] if len(known) > most else known
        chosen = np.sort(chosen)
        vectors = np.asarray(self.vectors.matrix("region")[chosen], np.float32)
        places = principal(vectors, 2) if method == "pca" or len(vectors) < 10 else _umap(vectors)
        low, high = (places.min(0), places.max(0)) if len(places) else (0.0, 1.0)
        return ObjectMap(row=chosen, place_xy=(places - low) / np.maximum(high - low, 1e-9), total=len(known))


def principal(rows: Float[np.ndarray, "m d"], num: int) -> Float[np.ndarray, "m num"]:
    """The rows along the directions in which they differ most; zeros where there are too few."""
    centred = rows - rows.mean(0) if len(rows) else rows
    places = np.zeros((len(rows), num), np.float32)
    _, directions = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    found = (centred @ directions[:, ::-1][:, :num]).astype(np.float32)
    places[:, : found.shape[1]] = found
    return places


def _umap(vectors: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m 2"]:
    import umap

    places: Float[np.ndarray, "m 2"] = umap.UMAP(metric="cosine", random_state=MAP_SEED, n_jobs=1).fit_transform(
        vectors
    )
    return places
