"""What the server answers. Scenes are named by their numbers; no text of a request ever becomes a path."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import anyio.to_thread
import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from samclr.config.serialise import to_dict
from samclr.config.views import FilterConfig
from samclr.errors import ConfigError, SamclrError
from samclr.pages.explorer.as_json import regions_as_json, row_as_json, views_per_row
from samclr.pages.explorer.asked import Sampling, settings_of, whole_number
from samclr.pages.explorer.catalogue import AREA_BINS, COUNT_BINS, SCORE_BINS, Choice
from samclr.pages.explorer.commands import changed_options
from samclr.pages.explorer.objects import Objects
from samclr.pages.explorer.patch_colours import Moment
from samclr.pages.explorer.pictures import PICTURE_PX, THUMB_PX
from samclr.pages.explorer.sampling import SHARES_OVER, SceneSampler, Visit
from samclr.pages.explorer.source import Source
from samclr.regions.coarsest import coarsest, padded_boxes
from samclr.regions.records import ImageRegions
from samclr.scenes.decode import DecodeError

STATIC = {
    "": ("index.html", "text/html; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    **{
        f"{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("main", "page", "grid", "scene", "filter", "views", "masks", "objects", "features")
    },
}
THREADS = 8  # requests answered at a time
MOST_ROWS = 500  # of the grid, in one answer
MOST_VIEWS = 256  # of a scene in one step
NO_STORE = {"cache-control": "no-store"}
KEPT_PICTURE = {"cache-control": "private, max-age=3600"}


class NotFoundError(SamclrError):
    """Nothing has that number or id."""


def make_app(source: Source) -> Starlette:
    """The application, without the guard."""
    answers = Answers(source)
    routes = [Route(f"/{path}", _static(name, kind), methods=["GET"]) for path, (name, kind) in STATIC.items()]
    for path, answer in {
        "/api/start": answers.start,
        "/api/scenes": answers.scenes,
        "/api/find": answers.find,
        "/api/filter": answers.filter,
        "/api/scene/{number:int}": answers.scene,
        "/api/views/{number:int}": answers.views,
        "/api/shares/{number:int}": answers.shares,
        "/api/set-shares": answers.set_shares,
        "/api/similar/{number:int}": answers.similar,
        "/api/map": answers.map,
        "/object/{row:int}": answers.object,
        "/features/{number:int}/before": answers.features_before,
        "/features/{number:int}/after": answers.features_after,
        "/thumb/{number:int}": answers.thumb,
        "/picture/{number:int}": answers.picture,
    }.items():
        routes.append(Route(path, _answering(answer), methods=["GET"]))
    return Starlette(routes=routes, lifespan=_with_threads)


@asynccontextmanager
async def _with_threads(app: Starlette) -> AsyncIterator[None]:
    """As many threads as THREADS, so that few pictures are decoded at a time."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


def _static(name: str, kind: str) -> Callable[[Request], Response]:
    content = files("samclr.pages.explorer").joinpath("static", name).read_bytes()

    def answer(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    return answer


def _answering(make: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """Errors that a request can cause become answers."""

    def answer(request: Request) -> Response:
        try:
            return make(request)
        except NotFoundError as error:
            return JSONResponse({"error": str(error)}, 404, headers=NO_STORE)
        except ConfigError as error:
            return JSONResponse({"error": str(error), "setting": error.setting}, 400, headers=NO_STORE)
        except (DecodeError, SamclrError) as error:
            return JSONResponse({"error": str(error)}, 422, headers=NO_STORE)

    return answer


class Answers:
    """An answer for each address."""

    def __init__(self, source: Source):
        self._source, self._catalogue = source, source.catalogue

    def start(self, request: Request) -> Response:
        """What the page needs before anything else."""
        begun = self._source.begun
        sampling = {
            name: to_dict(getattr(begun, name)) for name in ("filter", "views", "group", "local", "augment")
        } | {"seed": begun.seed, "global_batch_size": begun.global_batch_size}
        bins = {"area": AREA_BINS, "score": SCORE_BINS, "count": COUNT_BINS}
        facts = self._source.facts() | {"bins": {name: edges.tolist() for name, edges in bins.items()}}
        return _json(facts | {"sampling": sampling})

    def scenes(self, request: Request) -> Response:
        """A stretch of the grid."""
        query, config, choice = request.query_params, self._filter(request), self._choice(request)
        twice = self._catalogue.twice if choice.show == "duplicates" else None
        if twice is not None:
            twice.begin()
        order = self._catalogue.order(choice, config)
        first = whole_number(query, "first", 0, 0, 2**40)
        count = whole_number(query, "count", 60, 1, MOST_ROWS)
        counted = self._catalogue.counted(config)
        rows = []
        for number in order[first : first + count].tolist():
            height, width = self._catalogue.native_hw[number].tolist()
            row = {"number": number, "id": self._catalogue.ids[number], "height": height, "width": width}
            if counted is not None:
                row |= {"regions": int(self._catalogue.num_regions[number])}
                row |= {"kept": int(counted.kept_by_limits[number])}
            if twice is not None:
                row |= {"group": int(twice.group[number]), "is_kept": bool(twice.kept[number])}
            rows.append(row | {"error": self._catalogue.errors.get(number)})
        about = None if twice is None else {"state": twice.state, "text": twice.text}
        return _json({"total": len(order), "first": first, "rows": rows, "duplicates": about})

    def find(self, request: Request) -> Response:
        """The number of the scene with this id, to the letter."""
        number = self._catalogue.find(request.query_params.get("id", ""))
        if number is None:
            raise NotFoundError("no scene has this id")
        return _json({"number": number})

    def filter(self, request: Request) -> Response:
        """The whole set under a filter, the open scene too where one is named, and what to type for it."""
        config = self._filter(request)
        counted = self._catalogue.counted(config)
        options = changed_options(config, FilterConfig())
        answer: dict[str, Any] = {"set": None if counted is None else counted.facts, "scene": None}
        if "scene" in request.query_params:
            number = whole_number(request.query_params, "scene", 0, 0, 2**40)
            answer["scene"] = self._kept(self._source.opened(self._checked(number)).found, config)
        commands = {"options": " ".join(options), "command": self._source.commands.look(options)}
        return _json(answer | commands)

    def scene(self, request: Request) -> Response:
        """One scene: its regions, what the filter keeps of them, and its neighbours in the grid."""
        number, config = self._number(request), self._filter(request)
        opened = self._source.opened(number)
        order = self._catalogue.order(self._choice(request), config)
        height, width = self._catalogue.native_hw[number].tolist()
        places = np.flatnonzero(order == number)
        place = int(places[0]) if len(places) else None
        beside = {"place": place, "total": len(order), "previous": None, "next": None}
        if place is not None:
            beside["previous"] = int(order[place - 1]) if place > 0 else None
            beside["next"] = int(order[place + 1]) if place + 1 < len(order) else None
        found = opened.found
        size = {"height": height if found is None else found.height, "width": width if found is None else found.width}
        return _json(
            {"number": number, "id": self._catalogue.ids[number], "error": opened.error, **size, **beside}
            | {"regions": None if found is None else regions_as_json(found), "kept": self._kept(found, config)}
        )

    def views(self, request: Request) -> Response:
        """The views of the scene at the first step from the one asked for that shows it."""
        sampler, number = self._sampler(request)
        if isinstance(sampler, str):
            return _json({"why_not": sampler})
        step = whole_number(request.query_params, "step", 0, 0, 10**8)
        visit = sampler.visit(step)
        if len(visit.slots) * sampler.sampling.views.regions_per_image * views_per_row(sampler) > MOST_VIEWS:
            raise ConfigError(f"a step would show over {MOST_VIEWS} views of this scene; ask for fewer", "num_views")
        plan, numbers = sampler.rows(visit)
        pixels = sampler.pixels(plan, self._source.pictures.source(number, self._source.max_side))
        before, after = sampler.visit_before(visit.step), sampler.visit(visit.step + 1)
        sampling = sampler.sampling
        return _json(
            {
                "step": visit.step,
                "epoch": visit.epoch,
                "previous_step": None if before is None else before.step,
                "next_step": after.step,
                "rows": [row_as_json(sampler, plan, pixels, row, int(at)) for row, at in enumerate(numbers)],
                "assumes_all_decode": self._source.bank is None,
                "command": self._source.commands.pretrain(sampling, self._source.begun),
            }
        )

    def shares(self, request: Request) -> Response:
        """Of the views of the scene's next visits: how many are enlarged, identical, or fall back."""
        sampler, _ = self._sampler(request)
        if isinstance(sampler, str):
            return _json({"why_not": sampler})
        visit: Visit = sampler.visit(whole_number(request.query_params, "step", 0, 0, 10**8))
        return _json({"visits": SHARES_OVER} | vars(sampler.shares(visit)))

    def set_shares(self, request: Request) -> Response:
        """Likewise of the whole set, by a sample of its scenes."""
        return _json(self._source.set_shares(self._source.begun.changed(request.query_params)))

    def similar(self, request: Request) -> Response:
        """The objects that are most like a region of the scene."""
        objects, number = self._objects(), self._number(request)
        region = whole_number(request.query_params, "region", 0, 0, 2**31)
        count = whole_number(request.query_params, "count", 24, 1, 200)
        row = objects.row_of(number, region)
        if row is None:
            return _json({"region": region, "why_not": f"region {region} has no vector", "rows": []})
        found = objects.similar(row, count)
        return _json({"region": region, "rows": [one | {"id": self._catalogue.ids[one["scene"]]} for one in found]})

    def map(self, request: Request) -> Response:
        """All objects in the plane, or a sample of them: x, y, number of the vector, scene and region, one after the
        other."""
        objects = self._objects()
        found = objects.map(request.query_params.get("method", "pca"))
        rows = found.row
        parts = [np.round(found.place_xy * 10_000).astype(np.int64).T, rows, objects.scene[rows], objects.region[rows]]
        x, y, row, scene, region = np.concatenate([np.atleast_2d(part) for part in parts]).tolist()
        points = {"x": x, "y": y, "row": row, "scene": scene, "region": region}
        return _json(points | {"side": 10_000, "total": found.total})

    def object(self, request: Request) -> Response:
        """A small picture of an object, by the number of its vector."""
        objects, row = self._objects(), int(request.path_params["row"])
        if not 0 <= row < len(objects.scene) or objects.scene[row] < 0:
            raise NotFoundError("there is no such object")
        size = objects.vectors.rows("region").slice(row, 1).select(["height_px", "width_px"]).to_pylist()[0]
        hw = size["height_px"], size["width_px"]
        encoded = self._source.pictures.crop(int(objects.scene[row]), objects.box(row), hw)
        return Response(encoded, media_type="image/jpeg", headers=KEPT_PICTURE)

    def features_before(self, request: Request) -> Response:
        """The patch features of a scene as colours, by the weights that the run began with."""
        return self._features(request, "before")

    def features_after(self, request: Request) -> Response:
        """Likewise by those that it exports."""
        return self._features(request, "after")

    def thumb(self, request: Request) -> Response:
        """A small picture."""
        return self._jpeg(request, THUMB_PX)

    def picture(self, request: Request) -> Response:
        """A picture."""
        return self._jpeg(request, PICTURE_PX)

    def _jpeg(self, request: Request, longest_px: int) -> Response:
        encoded = self._source.pictures.jpeg(self._number(request), longest_px)
        return Response(encoded, media_type="image/jpeg", headers=KEPT_PICTURE)

    def _features(self, request: Request, moment: Moment) -> Response:
        if self._source.patch_colours is None:
            raise NotFoundError("there is no run: start samclr explore with --run RUN")
        jpeg = self._source.pictures.jpeg(self._number(request), PICTURE_PX)
        encoded = self._source.patch_colours.png(jpeg, moment)
        return Response(encoded, media_type="image/png", headers=NO_STORE)

    def _objects(self) -> Objects:
        if self._source.objects is None:
            raise NotFoundError("there are no vectors: start samclr explore with --vectors VECTORS")
        return self._source.objects

    def _sampler(self, request: Request) -> tuple[SceneSampler | str, int]:
        number = self._number(request)
        sampling: Sampling = self._source.begun.changed(request.query_params)
        return self._source.sampler(number, sampling), number

    def _kept(self, found: ImageRegions | None, config: FilterConfig) -> dict[str, Any] | None:
        if found is None:
            return None
        kept = coarsest(found, config)
        boxes = padded_boxes(found.boxes_xyxy[kept], config.padding, found.height, found.width)
        return {"regions": kept, "boxes": boxes.tolist()}

    def _filter(self, request: Request) -> FilterConfig:
        return settings_of(self._source.begun.filter, request.query_params)

    def _choice(self, request: Request) -> Choice:
        query = request.query_params
        given: dict[str, Any] = {name: query[name] for name in ("sort", "show", "name") if name in query}
        return Choice(**given, least=whole_number(query, "least", Choice.least, 0, 10**9))

    def _number(self, request: Request) -> int:
        return self._checked(int(request.path_params["number"]))

    def _checked(self, number: int) -> int:
        if not 0 <= number < len(self._catalogue.ids):
            raise NotFoundError(f"there are {len(self._catalogue.ids):,} scenes, numbered from 0")
        return number


def _json(content: dict[str, Any]) -> JSONResponse:
    return JSONResponse(content, headers=NO_STORE)
