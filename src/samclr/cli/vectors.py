"""The commands that use vectors: what is similar, what is there twice, and a diverse part.

Each imports what it needs when it runs, so that --help is instant.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from samclr.cli.evaluate import DEVICE_HELP
from samclr.cli.options import Column, Json
from samclr.config.serialise import Bounds, Count, CountOrZero, CountsWith, Seed, Settings
from samclr.errors import ScenesError, UsageError, name_some
from samclr.log import say, show, show_json, show_table

if TYPE_CHECKING:
    from samclr.embedding.lookup import Place
    from samclr.embedding.vectors import Vectors
    from samclr.scenes.refs import SceneRef

GROUPS_SHOWN = 20
PICTURES = "a page shows pictures"
VectorsFolder = Annotated[Positional[Path], arg(metavar="VECTORS", help="Folder that samclr embed made.")]
EmbeddedKind = Literal["image", "region"]
Similarity = Annotated[float, Bounds(at_least=-1, at_most=1)]


def _scenes_arg(what: str) -> Any:
    return arg(
        help=f"The scenes that the vectors were made of, {what}; by default as VECTORS remembers them.",
        metavar="PATH...",
    )


@dataclass(frozen=True, kw_only=True)
class Similar(Settings):
    """Show what is most similar to an image, or to an object in it: exact search by cosine similarity.

    IMAGE is the id of an image in VECTORS, or else any image file. A file, or a box, is embedded first, by the backbone
    that VECTORS was made with.

    Example: samclr similar photos.vectors --to beach/7.jpg --region 3 --page similar.html
    """

    vectors: VectorsFolder
    to: Annotated[str, arg(help="What to search by: an image; see above.", metavar="IMAGE")]
    region: Annotated[CountOrZero | None, arg(help="Number of one of its regions: search by that object.")] = None
    box: Annotated[
        tuple[CountOrZero, CountOrZero, CountOrZero, CountOrZero] | None,
        arg(
            help="Search by what this box holds: left, top, right, bottom, in px of the upright photo.",
            metavar="X Y X Y",
        ),
    ] = None
    kind: Annotated[
        EmbeddedKind | None, arg(help="What to search: images or regions; by default what the search is by.")
    ] = None
    num: Annotated[Count, arg(help="How many to show.")] = 10
    index: Annotated[
        Literal["exact", "faiss"],
        arg(
            help="exact compares with every vector; faiss (samclr[faiss]) builds an index once, for tens of millions, "
            "and may miss a neighbour."
        ),
    ] = "exact"
    page: Annotated[Path | None, arg(help="Page of pictures to write.", metavar="HTML")] = None
    scenes: Annotated[tuple[Path, ...], _scenes_arg("for --page and --box")] = ()
    image_column: Annotated[Column, CountsWith("scenes")] = None
    backbone: Annotated[
        str | None,
        arg(help="The backbone of VECTORS, where it lies elsewhere now: what samclr embed took.", metavar="TARGET"),
    ] = None
    device: Annotated[str, arg(help=DEVICE_HELP)] = "auto"
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.embedding.lookup import most_similar
        from samclr.embedding.vectors import open_vectors

        if self.region is not None and self.box is not None:
            raise UsageError("--region and --box both say what to search by; give one of them")
        vectors = open_vectors(self.vectors)
        refs = self._refs(vectors)
        kind = self.kind or ("image" if self.region is None and self.box is None else "region")
        query, vector, own = self._query(vectors, refs)
        found = most_similar(vectors, vector, self.num, kind, without=own, index=self.index)
        if self.page is not None:
            self._write_page(query, found, refs, vectors, kind)
        if self.json:
            answers = [{"similarity": value} | place.to_dict() for value, place in found]
            show_json({"query": query.to_dict(), "kind": kind, "similar": answers, "page": self.page})
        else:
            rows = [{"similarity": value, **_cells(place, kind)} for value, place in found]
            show_table(f"the {kind}s most similar to {_name(query)}", rows)
        if self.page is not None:
            say(f"wrote {self.page}")
        return 0

    def _refs(self, vectors: "Vectors") -> dict[str, "SceneRef"]:
        """The scenes by id, where pictures of them are needed."""
        from samclr.embedding.lookup import has_image

        if self.page is None and (self.box is None or not has_image(vectors, self.to)):
            return {}
        what_for = PICTURES if self.page is not None else "--box in an image of VECTORS needs its pixels"
        return _by_id(vectors, self.scenes, self.image_column, what_for)

    def _query(self, vectors: "Vectors", refs: dict[str, "SceneRef"]) -> tuple["Place", Any, int | None]:
        """What is searched by, its vector, and its row in VECTORS if it has one. A file is added to the scenes."""
        from samclr.embedding.lookup import Place, has_image, nearest_names, places_of, row_of

        is_known = has_image(vectors, self.to)
        if is_known and self.box is None:
            row = row_of(vectors, self.to, self.region)
            return places_of(vectors, "all", [row])[0], vectors.matrix("all")[row], row
        if is_known:
            if self.to not in refs:
                raise ScenesError(f"{self.to} is not among the scenes; name those that {self.vectors} was made of")
            ref = refs[self.to]
        else:
            if not Path(self.to).is_file():
                raise ScenesError(
                    f"{self.to} is neither an image of {self.vectors} nor a file{nearest_names(vectors, self.to)}"
                )
            if self.region is not None:
                raise UsageError(f"--region is of images in {self.vectors}; give --box for an object in {self.to}")
            from samclr.scenes.refs import SceneRef

            ref = refs[self.to] = SceneRef(image_id=self.to, path=self.to)
        from samclr.embedding.query import query_vector  # torch, once all that is named is there
        from samclr.scenes.decode import DecodeError, load_scene

        try:
            scene = load_scene(ref)
        except DecodeError as error:
            raise ScenesError(f"{self.to} cannot be used: {error}") from None
        height, width = scene.pixels.shape[:2]
        vector = query_vector(vectors, scene, self.box, backbone=self.backbone, device=self.device)
        return Place(id=self.to, region=None, box_xyxy=self.box or (0, 0, width, height), area_px=None), vector, None

    def _write_page(
        self,
        query: "Place",
        found: list[tuple[float, "Place"]],
        refs: dict[str, "SceneRef"],
        vectors: "Vectors",
        kind: EmbeddedKind,
    ) -> None:
        from samclr.pages.pictures import Row, Shown, write_pictures

        rows = [
            Row(title="Searched for", pictures=[Shown(place=query, text="the query")]),
            Row(title="Most similar", pictures=[Shown(place=place, text=f"{value:.3f}") for value, place in found]),
        ]
        of = f"{len(vectors.rows(kind)):,} {kind}s in {self.vectors}"
        verdict = f"The {len(found)} most similar of {of}, with cosine similarity"
        assert self.page is not None
        write_pictures(f"Similar to {_name(query)}", verdict, rows, refs, self.page, vectors.content_hashes)


@dataclass(frozen=True, kw_only=True)
class Duplicates(Settings):
    """Find near-duplicates: one photograph re-encoded, resized, or with a margin cut off.

    Pairs of vectors over --threshold are candidates; their pictures are laid over each other and decide (--check).
    A group is what a chain of such pairs joins, up to --max-group.

    Example: samclr duplicates photos.vectors --out twice.txt --page twice.html
    """

    vectors: VectorsFolder
    scenes: Annotated[tuple[Path, ...], _scenes_arg("to compare and to show their pictures")] = ()
    image_column: Annotated[Column, CountsWith("scenes")] = None
    threshold: Annotated[
        Similarity,
        arg(help="Least cosine similarity of a candidate pair; the lower, the more pictures are compared."),
    ] = 0.95
    check: Annotated[
        Literal["pictures", "none"],
        arg(help="What decides on a candidate pair: its pictures, or nothing more than the threshold."),
    ] = "pictures"
    kind: Annotated[EmbeddedKind, arg(help="Look for images, or for regions, that are there twice.")] = "image"
    max_group: Annotated[
        Count,
        Bounds(at_least=2, at_most=10**9),
        arg(help="A larger group is not chained through: each image it keeps takes those that pair with itself."),
    ] = 100
    out: Annotated[
        Path | None,
        arg(help="List to write of the images to leave out, for pretrain --exclude.", metavar="LIST"),
    ] = None
    page: Annotated[Path | None, arg(help="Page of pictures to write.", metavar="HTML")] = None
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.datasets.scene_lists import write_list
        from samclr.embedding.copies import find_copies
        from samclr.embedding.own_scenes import refs_of, scenes_if_there
        from samclr.embedding.vectors import open_vectors

        if self.out is not None and self.kind == "region":
            raise UsageError("--out is a list of images; leave it out with --kind region")
        vectors = open_vectors(self.vectors)
        scenes, refs = self.scenes, list["SceneRef"]()
        if self.check == "pictures" or self.page is not None:
            what_for = "the pictures are compared" if self.check == "pictures" else PICTURES
            scenes, refs = refs_of(vectors, self.scenes, self.image_column, what_for)
        elif self.out is not None:
            scenes = scenes_if_there(vectors, self.scenes)
        compared = refs if self.check == "pictures" else None
        found = find_copies(vectors, threshold=self.threshold, kind=self.kind, max_group=self.max_group, refs=compared)
        num_out = sum(len(group) - 1 for group in found.groups)
        verdict = (
            f"{len(found.groups):,} groups of near-duplicates; keeping one {self.kind} of each leaves out {num_out:,} "
            f"of {len(vectors.rows(self.kind)):,}"
        )
        if self.out is not None:
            write_list(self.out, found.left_out(), _absolute(scenes), f"near-duplicates of others, {self.vectors}")
        if self.page is not None:
            from samclr.pages.pictures import Row, Shown, write_pictures

            rows = [
                Row(
                    title=f"Group {number}: {len(group)} {self.kind}s",
                    pictures=[
                        Shown(place=one, text="left out" if place else "kept") for place, one in enumerate(group)
                    ],
                )
                for number, group in enumerate(found.groups, 1)
            ]
            by_id = {ref.image_id: ref for ref in refs}
            write_pictures(
                f"Near-duplicates in {self.vectors}", verdict, rows, by_id, self.page, vectors.content_hashes
            )
        if self.json:
            groups = [[place.to_dict() for place in group] for group in found.groups]
            counts = {"num_groups": len(groups), "num_left_out": num_out, "num_split": found.num_split}
            show_json(counts | {"groups": groups, "out": self.out, "page": self.page})
        else:
            self._show(found.groups, verdict)
        if found.num_split:
            were = "group was" if found.num_split == 1 else "groups were"
            say(f"{found.num_split:,} {were} larger than --max-group {self.max_group}, and not chained through")
        for path in (self.out, self.page):
            if path is not None:
                say(f"wrote {path}")
        return 0

    def _show(self, groups: list[list["Place"]], verdict: str) -> None:
        rows = [
            {"size": len(group), "kept": _name(group[0]), "left out": name_some([_name(one) for one in group[1:]], 3)}
            for group in groups[:GROUPS_SHOWN]
        ]
        if rows:
            show_table("the largest groups of near-duplicates", rows)
        show(verdict)


@dataclass(frozen=True, kw_only=True)
class Select(Settings):
    """Choose a diverse part of the images by their vectors, or by those of their objects, as a list for --scenes.

    Example: samclr select photos.vectors --num 1000 --out some.txt
    """

    vectors: VectorsFolder
    num: Annotated[Count, arg(help="How many images to choose.")]
    out: Annotated[Path, arg(help="List to write.", metavar="LIST")]
    by: Annotated[
        Literal["kmeans++", "facility-location"],
        arg(
            help="kmeans++ draws what is far from all chosen before; facility-location takes what is nearest to all "
            "the others, and so passes over what is odd."
        ),
    ] = "kmeans++"
    kind: Annotated[
        EmbeddedKind, arg(help="Go by vectors of images, or of regions: an image then brings all its objects.")
    ] = "image"
    scenes: Annotated[tuple[Path, ...], _scenes_arg("to name them in the list")] = ()
    seed: Annotated[Seed, arg(help="Seed of the draws."), CountsWith("by", ("kmeans++",))] = 0
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.datasets.scene_lists import write_list
        from samclr.datasets.sources import refuse_missing
        from samclr.embedding.chosen import choose_images
        from samclr.embedding.own_scenes import scenes_if_there
        from samclr.embedding.vectors import open_vectors

        if self.scenes:
            refuse_missing(self.scenes)
        vectors = open_vectors(self.vectors)
        scenes = scenes_if_there(vectors, self.scenes)
        chosen = choose_images(vectors, self.num, by=self.by, kind=self.kind, seed=self.seed)
        how = f"{self.by}, seed {self.seed}" if self.by == "kmeans++" else self.by
        write_list(self.out, chosen, _absolute(scenes), f"{self.num} images of {self.vectors} by {how}")
        if self.json:
            show_json({"out": self.out, "num_images": len(chosen), "images": chosen})
        source = self.out if scenes else f"{self.out}@SCENES"
        say(f"wrote {self.out}, {len(chosen):,} of {len(vectors.rows('image')):,} images: --scenes {source} takes it")
        return 0


def _by_id(
    vectors: "Vectors", scenes: tuple[Path, ...], image_column: str | None, what_for: str
) -> dict[str, "SceneRef"]:
    from samclr.embedding.own_scenes import refs_of

    return {ref.image_id: ref for ref in refs_of(vectors, scenes, image_column, what_for)[1]}


def _absolute(scenes: tuple[Path, ...]) -> list[Path]:
    from samclr.datasets.names import absolute

    return [absolute(source) for source in scenes]


def _name(place: "Place") -> str:
    return place.id if place.region is None else f"{place.id}, region {place.region}"


def _cells(place: "Place", kind: str) -> dict[str, Any]:
    if kind == "image":
        return {"image": place.id}
    return {"image": place.id, "region": place.region, "box xyxy": " ".join(map(str, place.box_xyxy))}
