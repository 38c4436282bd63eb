"""The explorer's server in a thread, and a page of headless chromium on it."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from samclr.pages.explorer.guard import Guard
from samclr.pages.explorer.routes import make_app
from samclr.pages.explorer.server import bound
from samclr.pages.explorer.source import Source
from support.browser import CHROMIUM


@contextmanager
def served(source: Source) -> Iterator[str]:
    """The address at which a source is served."""
    with bound("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        app = Guard(make_app(source), "127.0.0.1", port, None)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.should_exit = True
            thread.join(20)


@contextmanager
def browser() -> Iterator[object]:
    """Headless chromium. Skips where it is not installed, but not in CI."""
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "chromium is missing in CI; .ci/run installs it"
        pytest.skip("chromium is not installed: the page was not opened")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield opened
        finally:
            opened.close()
