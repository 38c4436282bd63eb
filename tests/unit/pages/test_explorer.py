"""What the explorer's server answers, and whom."""

import io
import math
import os
import re
import shlex
import signal

import pytest
from PIL import Image
from starlette.testclient import TestClient
from support.nested import write_nested

from samclr.bank.bank import pack_scenes
from samclr.bank.places import default_bank
from samclr.config.explorer import ExplorerData
from samclr.config.views import FilterConfig
from samclr.datasets.sources import list_scenes
from samclr.errors import UsageError
from samclr.pages.explorer import server
from samclr.pages.explorer.caches import ByteCache
from samclr.pages.explorer.guard import Guard, address_of
from samclr.pages.explorer.routes import STATIC, make_app
from samclr.pages.explorer.source import Source
from samclr.regions.coarsest import coarsest, padded_box
from samclr.regions.region_store import RegionStore
from samclr.scenes.fill import FillOptions

PORT = 8765
HOSTILE = "<img src=x onerror=alert(1)>.png"


def client_of(source: Source, host: str = "127.0.0.1", token: str | None = None) -> TestClient:
    app = Guard(make_app(source), host, PORT, token)
    return TestClient(app, base_url=f"http://127.0.0.1:{PORT}", raise_server_exceptions=True)


@pytest.fixture
def made(tmp_path, call):
    scenes, store = write_nested(tmp_path, 8, call)
    (scenes / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    (scenes / HOSTILE).write_bytes((scenes / "000.png").read_bytes())
    return scenes, store


@pytest.fixture
def client(made):
    scenes, store = made
    return client_of(Source([scenes], ExplorerData(regions=store)))


def number_of(client: TestClient, image_id: str) -> int:
    return client.get("/api/find", params={"id": image_id}).json()["number"]


def test_the_grid_is_sorted_and_chosen(client):
    start = client.get("/api/start").json()
    assert (start["num_scenes"], start["has_bank"], start["has_regions"]) == (10, False, True)
    whole = client.get("/api/scenes").json()
    assert whole["total"] == 10
    ids = [row["id"] for row in whole["rows"]]
    assert ids == sorted(ids)
    assert HOSTILE in ids
    many = client.get("/api/scenes", params={"sort": "most", "show": "many", "least": 3}).json()
    counts = [row["regions"] for row in many["rows"]]
    assert counts == sorted(counts, reverse=True)
    assert min(counts) >= 3
    errors = client.get("/api/scenes", params={"show": "errors"}).json()["rows"]
    assert {row["id"] for row in errors} == {"broken.png", HOSTILE}  # which came after the store
    empty = client.get("/api/scenes", params={"show": "none-kept", "min_area_px": 10**6}).json()
    assert empty["total"] == 8
    assert client.get("/api/scenes", params={"show": "no-regions"}).json()["rows"][0]["id"] == "007.png"
    assert client.get("/api/scenes", params={"name": "00", "first": 6}).json()["rows"][0]["id"] == "006.png"
    for sort in ("fewest", "most-kept", "fewest-kept", "largest", "smallest", "worst-score"):
        assert client.get("/api/scenes", params={"sort": sort}).json()["total"] == 10


def test_a_scene_is_filtered_exactly_and_has_neighbours(client, made):
    number = number_of(client, "003.png")
    words = {"min_area_px": 200, "containment_frac": 0.5, "padding": 1.4}
    scene = client.get(f"/api/scene/{number}", params=words).json()
    found = RegionStore(made[1])["003.png"]
    config = FilterConfig(min_area_px=200, containment_frac=0.5, padding=1.4)
    assert scene["kept"]["regions"] == coarsest(found, config)
    boxes = [list(padded_box(found.regions[k].box_xyxy, 1.4, 60, 80)) for k in coarsest(found, config)]
    assert scene["kept"]["boxes"] == boxes
    assert {one["region"]: one["rle"].encode() for one in scene["regions"]["drawn"]} == {
        k: region.rle for k, region in enumerate(found.regions)
    }
    assert (scene["previous"], scene["next"]) == (number - 1, number + 1)
    filtered = client.get("/api/filter", params=words | {"scene": number}).json()
    assert filtered["scene"] == scene["kept"]
    assert filtered["options"] == "--min-area-px 200 --containment-frac 0.5 --padding 1.4"
    assert f"samclr look {made[1]} --scenes {made[0]} --min-area-px 200" in filtered["command"]
    assert filtered["set"]["sample_is_all"]
    assert filtered["set"]["num_images"] == 8
    histogram = filtered["set"]["histograms"]["area"]
    assert sum(histogram["after"]) == filtered["set"]["within_limits"] <= sum(histogram["before"])
    broken = client.get(f"/api/scene/{number_of(client, 'broken.png')}").json()
    assert broken["regions"] is None
    assert "no row" in broken["error"]


def test_pictures_come_from_files_and_from_the_bank(client, made, tmp_path):
    number = number_of(client, "002.png")
    answer = client.get(f"/picture/{number}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == (120, 90)
    assert client.get(f"/thumb/{number_of(client, 'broken.png')}").status_code == 422
    pack_scenes(list_scenes([made[0]]), default_bank([made[0]], None), None, FillOptions())
    packed = client_of(Source([made[0]], ExplorerData(regions=made[1])))
    assert packed.get("/api/start").json()["has_bank"]
    assert packed.get(f"/picture/{number}").content == answer.content
    assert packed.get("/api/scenes", params={"show": "errors"}).json()["total"] == 2


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/scene/10", 404),
        ("/api/scene/99999999999999999999", 404),
        ("/api/scene/-1", 404),
        ("/api/scene/..%2f..%2fetc%2fpasswd", 404),
        ("/thumb/000.png", 404),
        ("/static/../server.py", 404),
        ("/..%2fserver.py", 404),
        ("/api/find?id=../store", 404),
        ("/api/find?id=%00", 404),
        ("/api/scenes?sort=size", 400),
        ("/api/scenes?count=10000", 400),
        ("/api/scenes?first=-1", 400),
        ("/api/scenes?first=%D9%A1", 400),
        ("/api/filter?min_area_px=many", 400),
        ("/api/filter?padding=nan", 400),
        ("/api/filter?containment_frac=7", 400),
        ("/api/views/0?strategy=magic", 400),
        ("/api/views/0?size_px=100000", 400),
        ("/api/views/0?crop_scale=1,2,3", 400),
        ("/api/views/0?num_views=1000", 400),
        ("/api/views/0?global_batch_size=100000000", 400),
        ("/api/views/0?flip_prob=", 400),
        (f"/api/scenes?name={'x' * 5000}", 414),
    ],
)
def test_hostile_requests_are_refused(client, path, status):
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": f"localhost:{PORT}"}, 200),
        ({"host": f"[::1]:{PORT}"}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": f"evil.example:{PORT}"}, 421),
        ({"host": "127.0.0.1:1"}, 421),
        ({"host": f"x@127.0.0.1:{PORT}"}, 421),
        ({"host": f"192.168.1.4:{PORT}"}, 421),
        ({"host": "["}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": f"http://127.0.0.1:{PORT}"}, 200),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_other_pages_may_not_ask(client, headers, status):
    assert client.get("/api/start", headers=headers).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_is_read_only(client, method):
    assert client.request(method, "/api/start").status_code == 405


def test_other_addresses_need_the_token(made):
    source = Source([made[0]], ExplorerData(regions=made[1]))
    client = client_of(source, "0.0.0.0", "secret")
    assert client.get("/api/start").status_code == 401
    assert client.get("/?token=guess").status_code == 401
    assert client.get("/api/start?token=secret").status_code == 200
    answer = client.get("/?token=secret&scene=3", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?scene=3")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=strict" in answer.headers["set-cookie"]
    assert client.get("/api/start", headers={"host": f"192.168.1.4:{PORT}"}).status_code == 200
    assert client.get("/api/start", headers={"host": f"evil.example:{PORT}"}).status_code == 421
    assert address_of("::1", 80, "a b") == "http://[::1]:80/?token=a+b"


def test_static_files_are_there_and_load_nothing_from_elsewhere(client):
    for name in STATIC:
        answer = client.get(f"/{name}")
        assert answer.status_code == 200
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "innerHTML" not in text
        assert "http" not in text.replace("http-equiv", "")
        assert 'src="//' not in text


def test_a_cache_stays_below_its_limit():
    cache = ByteCache[bytes](100, len)
    for key in range(20):
        cache.get(key, lambda: b"x" * 30)
    assert cache.num_bytes <= 100
    assert cache.get(19, lambda: b"") == b"x" * 30
    assert cache.get("large", lambda: b"x" * 1000) == b"x" * 1000
    assert cache.num_bytes == 0


def test_a_port_in_use_and_a_wrong_address_are_said():
    with server.bound("127.0.0.1", 0) as one, pytest.raises(UsageError, match=r"port \d+ is in use; name another"):
        server.bound("127.0.0.1", one.getsockname()[1])
    with pytest.raises(UsageError, match=r"host` no\.such\.name is not an address"):
        server.bound("no.such.name", 0)
    with pytest.raises(UsageError, match=r"host` \.\./x is not an address of this machine \(not a name of a host\)"):
        server.bound("../x", 0)


def test_it_opens_the_browser_and_ctrl_c_ends_it_with_130(made, call, capsys, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    opened = []

    def open_page(address):
        opened.append(address)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("webbrowser.open", open_page)
    try:
        status, out, said = call("explore", made[0], "--port", 0, "--open")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (status, out) == (130, f"{opened[0]}\n")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", opened[0])
    assert said.endswith("stopped the explorer; rerun the same command to resume\n")


def test_views_without_regions_and_of_scenes_that_failed(made):
    client = client_of(Source([made[0]], ExplorerData()))
    number = number_of(client, "002.png")
    assert "needs regions" in client.get(f"/api/views/{number}", params={"strategy": "region"}).json()["why_not"]
    rows = client.get(f"/api/views/{number}", params={"strategy": "image", "size_px": 24}).json()["rows"]
    assert rows[0]["region"] is None
    assert rows[0]["window"] == [0, 0, 120, 90]
    assert client.get(f"/api/views/{number_of(client, 'broken.png')}").status_code == 422
    assert client.get("/api/filter").json()["set"] is None


def finite(value) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def test_shares_count_what_the_rows_show(client):
    number = number_of(client, "001.png")
    words = {"size_px": 40, "min_area_px": 50, "global_batch_size": 4, "min_coverage": 0.9}
    shares = client.get(f"/api/shares/{number}", params=words).json()
    assert shares["views"] == 2 * shares["pairs"] == 2 * shares["visits"]
    step, enlarged, under = 0, 0, 0
    for _ in range(shares["visits"]):
        answer = client.get(f"/api/views/{number}", params=words | {"step": step}).json()
        assert answer["step"] >= step
        for row in answer["rows"]:
            enlarged += sum(view["enlarged"] for view in row["views"])
            under += sum(view["cover"] < 0.9 for view in row["views"])
            assert all(finite(value) for view in row["views"] for value in view["colours"].values())
        step = answer["next_step"]
    assert (shares["enlarged"], shares["under_coverage"]) == (enlarged, under)
    assert under > 0
    assert "--min-coverage 0.9" in answer["command"]
    assert client.get(f"/api/views/{number}", params=words | {"step": step}).json()["previous_step"] < step


def test_the_command_trains_on_the_views_that_are_shown(client):
    """pretrain fits a batch that is not stated to the number of scenes."""
    batch = client.get("/api/start").json()["sampling"]["global_batch_size"]
    number, scale = number_of(client, "001.png"), "0.123456789,0.87654321"
    words = {"crop_scale": scale, "blur_prob": 1 / 3, "min_area_px": 50}
    for given in ({}, {"global_batch_size": batch + 8}):
        command = shlex.split(client.get(f"/api/views/{number}", params=words | given).json()["command"])
        assert command.count("--global-batch-size") == 1
        place = command.index("--global-batch-size")
        assert command[place + 1] == str(given.get("global_batch_size", batch))
    assert command[command.index("--blur-prob") + 1] == repr(1 / 3)
    assert command[command.index("--crop-scale") + 1 :][:2] == scale.split(",")
