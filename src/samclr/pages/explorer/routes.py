"""What the server answers. Scenes are named by their numbers; no text of a request ever becomes a path."""

import base64
import io
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import anyio.to_thread
import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from samclr.config.serialise import to_dict
from samclr.config.views import FilterConfig
from samclr.errors import ConfigError, PartsError, RegionError, SamclrError
from samclr.pages.explorer.asked import Sampling, settings_of, whole_number
from samclr.pages.explorer.catalogue import AREA_BINS, COUNT_BINS, SCORE_BINS, Choice
from samclr.pages.explorer.commands import changed_options
from samclr.pages.explorer.pictures import PICTURE_PX, THUMB_PX
from samclr.pages.explorer.sampling import SceneSampler, Visit, colours_of, is_enlarged
from samclr.pages.explorer.source import Source
from samclr.regions.coarsest import coarsest, padded_boxes
from samclr.regions.records import ImageRegions
from samclr.scenes.decode import DecodeError
from samclr.views.plan import WHOLE_IMAGE, ViewPlan

STATIC = {
    "": ("index.html", "text/html; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    **{
        f"{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("main", "page", "grid", "scene", "filter", "views", "masks")
    },
}
THREADS = 8  # requests answered at a time
MOST_ROWS = 500  # of the grid, in one answer
MOST_DRAWN = 2000  # regions of one scene that are sent, the largest
MOST_RLE_BYTES = 8_000_000
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
        except (DecodeError, PartsError, RegionError) as error:
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
        query, config = request.query_params, self._filter(request)
        order = self._catalogue.order(self._choice(request), config)
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
            rows.append(row | {"error": self._catalogue.errors.get(number)})
        return _json({"total": len(order), "first": first, "rows": rows})

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
            | {"regions": None if found is None else _regions(found), "kept": self._kept(found, config)}
        )

    def views(self, request: Request) -> Response:
        """The views of the scene at the first step from the one asked for that shows it."""
        sampler, number = self._sampler(request)
        if isinstance(sampler, str):
            return _json({"why_not": sampler})
        step = whole_number(request.query_params, "step", 0, 0, 10**8)
        visit = sampler.visit(step)
        if len(visit.slots) * sampler.sampling.views.regions_per_image * _views_per_row(sampler) > MOST_VIEWS:
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
                "rows": [_row(sampler, plan, pixels, row, int(at)) for row, at in enumerate(numbers)],
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
        return _json(sampler.shares(visit))

    def thumb(self, request: Request) -> Response:
        """A small picture."""
        return self._jpeg(request, THUMB_PX)

    def picture(self, request: Request) -> Response:
        """A picture."""
        return self._jpeg(request, PICTURE_PX)

    def _jpeg(self, request: Request, longest_px: int) -> Response:
        encoded = self._source.pictures.jpeg(self._number(request), longest_px)
        return Response(encoded, media_type="image/jpeg", headers=KEPT_PICTURE)

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


def _regions(found: ImageRegions) -> dict[str, Any]:
    """The regions as the page draws them, the largest first and as many as it can."""
    areas = np.array([region.area_px for region in found.regions], np.int64)
    listed, spent = [], 0
    for number in np.argsort(-areas, kind="stable")[:MOST_DRAWN].tolist():
        region = found.regions[number]
        spent += len(region.rle)
        if spent > MOST_RLE_BYTES:
            break
        one = {"region": number, "box": region.box_xyxy, "area": region.area_px, "rle": region.rle.decode("ascii")}
        listed.append(one | {"predicted_iou": region.predicted_iou, "stability_score": region.stability_score})
    return {"total": len(found.regions), "drawn": listed}


def _views_per_row(sampler: SceneSampler) -> int:
    return sum(group.num_views for group in sampler.sampling.groups)


def _row(sampler: SceneSampler, plan: ViewPlan, pixels: list[np.ndarray], row: int, number: int) -> dict[str, Any]:
    """One row of the plan: its window, and its views with their pixels."""
    region = int(plan.region_index[row])
    views = []
    for group, shown in zip(plan.groups, pixels, strict=True):
        enlarged, covers = is_enlarged(group.boxes_xyxy, group.size_px), sampler.covers(plan, group)
        for view in range(shown.shape[1]):
            cover = covers[row * shown.shape[1] + view]
            views.append(
                {
                    "role": group.role,
                    "size_px": group.size_px,
                    "box": group.boxes_xyxy[row, view].tolist(),
                    "enlarged": bool(enlarged[row, view]),
                    "crop_fallback": bool(group.crop_fallback[row, view]),
                    "cover": cover if cover is None or math.isfinite(cover) else None,
                    "colours": colours_of(group.augment, row, view),
                    "pixels": _as_png(shown[row, view]),
                }
            )
    boxes = plan.groups[0].boxes_xyxy[row]
    return {
        "row": number,
        "region": None if region == WHOLE_IMAGE else sampler.kept[region],
        "window": plan.window_xyxy[row].tolist(),
        "identical": len(boxes) > 1 and bool((boxes == boxes[:1]).all()),
        "views": views,
    }


def _as_png(pixels: np.ndarray) -> str:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def _json(content: dict[str, Any]) -> JSONResponse:
    return JSONResponse(content, headers=NO_STORE)
