"""Who may ask the server: pages of its own, from addresses that it was given; others need the token."""

import hmac
import ipaddress
import socket
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
TOKEN_S = 30 * 24 * 3600
LONGEST_QUERY = 4096
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    return host in LOCAL_NAMES or (_address(host) is not None and ipaddress.ip_address(host).is_loopback)


class Guard:
    """Lets through what a page of this server asks for; every answer gets the headers that keep it there.

    A foreign page could ask by its own name (Host: DNS rebinding), as itself (Origin), or for a picture (the headers).
    """

    def __init__(self, app: ASGIApp, host: str, port: int, token: str | None):
        """token: what a request must bring, once in its query and from then on in a cookie; None for loopback."""
        self._app, self._token = app, token
        self._names = {*LOCAL_NAMES} if is_loopback(host) else {*LOCAL_NAMES, host, socket.gethostname().lower()}
        self._takes_addresses = not is_loopback(host)
        self._port, self._cookie = port, f"samclr_token_{port}"  # a cookie is for all ports of a name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self._refusal(scope)
        await (answer or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            return _no(405, "this server is read-only")
        if len(scope["query_string"]) > LONGEST_QUERY:
            return _no(414, "the query is too long")
        if not self._is_own(headers.getlist("host")):
            return _no(421, "this server is not known by that name; open the address that samclr explore printed")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != headers["host"].lower():
            return _no(403, "pages of other origins may not ask")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["path"] != "/":
            return _no(403, "pages of other origins may not ask")
        return None if self._token is None else self._without_token(scope, headers)

    def _is_own(self, hosts: list[str]) -> bool:
        if len(hosts) != 1:
            return False
        try:
            parts = urlsplit(f"//{hosts[0]}")
            name, port = (parts.hostname or ""), parts.port
        except ValueError:
            return False
        if parts.netloc != hosts[0] or parts.username is not None or (port or 80) != self._port:
            return False
        return name in self._names or (self._takes_addresses and _address(name) is not None)

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        assert self._token is not None
        if _is_equal(_cookie(headers, self._cookie), self._token):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if not _is_equal((query.pop("token", [""]))[-1], self._token):
            return _no(401, "open the whole address that samclr explore printed: it ends in a token")
        if scope["path"] != "/":
            return None
        answer = RedirectResponse(f"/?{urlencode(query, doseq=True)}", 303)
        answer.set_cookie(self._cookie, self._token, max_age=TOKEN_S, httponly=True, samesite="strict")
        return answer


def _is_equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return found[name].value if name in found else ""


def _address(name: str) -> Any:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _no(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status, headers={"cache-control": "no-store"})


def address_of(host: str, port: int, token: str | None, extra: Iterable[tuple[str, str]] = ()) -> str:
    """The address to open."""
    name = f"[{host}]" if ":" in host else host
    query = urlencode([*extra, *([("token", token)] if token else [])])
    return f"http://{name}:{port}/" + (f"?{query}" if query else "")
