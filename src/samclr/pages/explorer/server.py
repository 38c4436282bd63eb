"""Serves the page until Ctrl-C."""

import errno
import secrets
import signal
import socket
import sys
import threading
import webbrowser

import uvicorn

from samclr.config.explorer import ExplorerServer
from samclr.errors import UsageError
from samclr.log import option_of, say, show
from samclr.pages.explorer.guard import Guard, address_of, is_loopback
from samclr.pages.explorer.routes import make_app
from samclr.pages.explorer.source import Source
from samclr.processes.stopping import Stopped

TOKEN_BYTES = 24


def serve(source: Source, config: ExplorerServer) -> None:
    """Print the address, and serve until a signal ends it.

    Raises:
        UsageError: the port is in use, or the address is not of this machine.
        Stopped: Ctrl-C or SIGTERM ended it.
    """
    token = None if is_loopback(config.host) else secrets.token_urlsafe(TOKEN_BYTES)
    with bound(config.host, config.port) as listening:
        port = listening.getsockname()[1]
        address = address_of(config.host, port, token)
        app = Guard(make_app(source), config.host, port, token)
        server = _Server(
            uvicorn.Config(
                app, log_config=None, log_level="critical", access_log=False, proxy_headers=False,
                server_header=False, ws="none", http="h11", timeout_graceful_shutdown=1, limit_concurrency=200,
            )
        )  # fmt: skip
        server.started_at = address, token is not None, config.open
        try:
            server.run(sockets=[listening])
        except Stopped:
            raise
        except KeyboardInterrupt:
            raise Stopped("stopped the explorer; rerun the same command to resume", signal.SIGINT) from None
        finally:
            source.close()


class _Server(uvicorn.Server):
    """Says where it is once it answers. started_at: its address, whether others may come, whether to open it."""

    started_at = "", False, False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        address, is_shared, is_opened = self.started_at
        show(address)
        sys.stdout.flush()
        if is_shared:
            say("other machines may open this page by that address; whoever has it sees all pictures")
        if is_opened:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises UsageError if it cannot."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # the latter of what cannot be a host's name
        why = error.strerror if isinstance(error, OSError) else "not a name of a host"
        raise UsageError(f"{option_of('host')} {host} is not an address of this machine ({why})") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} is in use; name another with {option_of('port')}, or 0 for any that is free"
            ) from None
        raise UsageError(f"cannot listen on {host}, port {port}: {error.strerror}") from None
    return listening
