"""Runs one ASGI application until it is told to stop: binds first, says where, ends in order on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import resource
import signal
import socket
from collections.abc import Callable, Generator
from typing import Any

import uvicorn

from partage.errors import ConfigError
from partage.serve.http_protocol import IDLE_S, BoundedHttp

GRACE_S = 3
"""Answers that are under way at the end may take so long."""
MOST_FILES = 65_536
"""Every connection is a file descriptor. A login's limit of 1024 is one for programs that use select()."""


def bind(host: str, port: int, what: str) -> socket.socket:
    """A listening socket; port 0 takes any. Raises ConfigError saying who may hold the port and what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            hint = "Ollama or another hub" if port == 11434 else "another program"
            raise ConfigError(
                f"{what}: port {port} on {host} is in use, by {hint} perhaps; stop it, or choose another port: --port, or "
                f"{what}.port in partage.yaml"
            ) from None
        reason = (error.strerror or str(error)).partition(" (while")[0]  # it says once more what was tried
        raise ConfigError(f"{what}: cannot listen on {host}:{port}: {reason}") from None
    except OverflowError:
        raise ConfigError(f"{what}: there is no port {port}; they go from 0 to 65535") from None


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(host), str(host))  # noqa: S104 compared, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def allow_many_connections() -> None:
    """Use as many file descriptors as may be had without asking anybody."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Server(uvicorn.Server):
    """Leaves the signals to us: uvicorn raises them again when it is done, which would skip our own way out."""

    on_listening: Callable[[], None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.on_listening is not None:
            self.on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn leaves the lifespan hanging then, and the log gets the traceback of its end
            await self.lifespan.shutdown()


async def serve(
    app: Any,  # noqa: ANN401 uvicorn's own type for an ASGI application
    listener: socket.socket,
    *,
    announce: bool = False,
    on_stop: Callable[[], None] | None = None,
    websockets: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM; a second one does not wait for the answers under way. Raises ConfigError: no start.

    `announce` prints {"ready": URL} on stdout once it listens, for a supervisor. `on_stop` runs at the first signal.
    """
    allow_many_connections()
    server = _Server(
        uvicorn.Config(
            app,
            loop="none",
            http=BoundedHttp,
            ws="websockets-sansio" if websockets else "none",
            lifespan="auto",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=IDLE_S,
        )
    )

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        if on_stop is not None:
            on_stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    if announce:
        server.on_listening = lambda: print(json.dumps({"ready": url_of(listener)}), flush=True)  # noqa: T201
    await server.serve(sockets=[listener])
    if not server.started:
        raise ConfigError("it could not start; the reason is in the lines above")
