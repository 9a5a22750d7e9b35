"""Who is let in: Host headers against DNS rebinding, web origins against other people's pages. As Ollama has it."""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from partage.api.ports import ApiSettings
from partage.api.problems import dialect_of
from partage.errors import Forbidden

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104 - compared with, not bound to
LOCAL_ORIGINS = (
    *(f"{scheme}://{host}{port}" for scheme in ("http", "https") for host in _LOCAL_HOSTS for port in ("", ":*")),
    *("app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*"),
)
LOCAL_SUFFIXES = (".localhost", ".local", ".internal")


class Gate:
    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._checks_host = settings.loopback
        self._hosts = {"", "localhost", socket.gethostname().lower(), *map(str.lower, settings.allowed_hosts)}
        self._origins = re.compile("|".join(map(_pattern, (*LOCAL_ORIGINS, *settings.allowed_origins))))
        self._is_local = lru_cache(maxsize=256)(self._names_us)  # the same few with every request
        self._cors = CORSMiddleware(
            app,
            allow_origin_regex=self._origins.pattern,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = origin = ""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1").lower()
            elif name == b"origin":
                origin = value.decode("latin-1").lower()
        if self._checks_host and not self._is_local(host):
            await _forbid(scope, send, f'host "{host[:80]}" is not allowed here')
        elif not origin or origin in {f"http://{host}", f"https://{host}"}:
            await self._app(scope, receive, send)
        elif self._origins.fullmatch(origin):
            await self._cors(scope, receive, send)
        else:
            await _forbid(scope, send, f'origin "{origin[:80]}" is not allowed; add it to OLLAMA_ORIGINS')

    def _names_us(self, host: str) -> bool:
        name = _without_port(host)
        if name in self._hosts or name.endswith(LOCAL_SUFFIXES):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or address.is_private or address.is_unspecified


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _pattern(origin: str) -> str:
    return ".*".join(map(re.escape, origin.lower().split("*")))


async def _forbid(scope: Scope, send: Send, message: str) -> None:
    body = dialect_of(scope["path"]).body(Forbidden(message))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
