"""The client of one repository in an OCI or Ollama registry: manifests, tags and blobs over HTTP.

Redirects are followed by hand: never from https down to http, and no credential goes to another host than it is for.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from partage.errors import DigestMismatch, NotFound, PullError
from partage.models.connection import ConnectionLost, connection_errors
from partage.models.names import Name
from partage.models.oci import LARGEST_TEXT_BYTES, MANIFEST, OCI_MANIFEST, Layer
from partage.models.reach import Reach, open_session
from partage.public_addresses import is_loopback

_MOST_REDIRECTS = 5
_MOST_TAG_PAGES = 10
_LARGEST_ANSWER_BYTES = 4 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHALLENGE = re.compile(r'(realm|service|scope)="([^"]*)"')
_NEXT_PAGE = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')

T = TypeVar("T")


def no_registry(name: Name) -> str:
    """What to do about a name without a host where no registry is configured."""
    return (
        "no registry is configured to look it up in: say `registry: HOST` in partage.yaml or PARTAGE_REGISTRY=HOST, "
        f"or give the host in the name: partage pull HOST/{name.namespace}/{name.model}:{name.tag}"
    )


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


class _Tags(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


def base_url(name: Name, reach: Reach) -> URL:
    """The registry that a name is looked for in. Raises PullError."""
    configured = _address(reach.registry, insecure=reach.insecure) if reach.registry else None
    if not name.host:
        if configured is None:
            raise PullError(no_registry(name))
        return configured
    if configured is not None and configured.authority == name.host:
        return configured
    return _address(name.host, insecure=reach.insecure)


def _address(text: str, *, insecure: bool) -> URL:
    """`http://` written out in the configuration is asking for it."""
    try:
        if "://" in text:
            url = URL(text)
        else:
            url = URL(f"https://{text}")
            url = url.with_scheme("http") if insecure or is_loopback(url.host or "") else url
    except ValueError as error:
        raise PullError(f"{text!r} is no address of a registry: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise PullError(f"{text!r} is no address of a registry; write HOST, HOST:PORT or https://HOST")
    return url.origin()


class Registry:
    def __init__(self, session: aiohttp.ClientSession, base: URL, repository: str, *, token: str = "") -> None:
        self.base = base
        self.repository = repository
        self._session = session
        self._authorization = f"Bearer {token}" if token else ""
        self._signing_in = asyncio.Lock()

    def __str__(self) -> str:
        return f"{self.base.authority}/{self.repository}"

    async def manifest(self, tag: str) -> bytes:
        """Raises NotFound, PullError, DigestMismatch."""
        headers = {"Accept": f"{MANIFEST}, {OCI_MANIFEST}"}
        async with self.exchange("GET", self.url("manifests", tag), headers=headers) as response:
            data = await read_bounded(response, _LARGEST_ANSWER_BYTES)
            promised = response.headers.get("Docker-Content-Digest", "")
        if promised.startswith("sha256:") and promised != digest_of(data):
            raise DigestMismatch(f"the manifest of {self}:{tag} is not what the registry says it is; discarded")
        return data

    async def tags(self) -> list[str]:
        """Raises NotFound, PullError."""
        found: list[str] = []
        url = self.url("tags", "list").with_query(n="1000")
        for _ in range(_MOST_TAG_PAGES):
            async with self.exchange("GET", url) as response:
                found += (await self.read(response, _Tags)).tags or []
                following = _NEXT_PAGE.search(response.headers.get("Link", ""))
            if following is None:
                break
            url = url.join(URL(following[1], encoded=True))
        return found

    async def text(self, layer: Layer) -> bytes:
        """A small blob, checked. Raises NotFound, PullError, DigestMismatch."""
        async with self.exchange("GET", self.url("blobs", layer.digest)) as response:
            data = await read_bounded(response, LARGEST_TEXT_BYTES)
        if digest_of(data) != layer.digest:
            raise DigestMismatch(f"{layer.digest[:19]} of {self} is not what was promised; discarded")
        return data

    async def has_blob(self, digest: str) -> bool:
        try:
            async with self.exchange("HEAD", self.url("blobs", digest)):
                return True
        except NotFound:
            return False

    async def read(self, response: aiohttp.ClientResponse, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(await read_bounded(response, _LARGEST_ANSWER_BYTES), type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise PullError(f"{self.base.authority} answered what is not understood: {error}") from error

    def url(self, *parts: str) -> URL:
        return self.base.with_path(f"/v2/{self.repository}/{'/'.join(parts)}")

    @asynccontextmanager
    async def exchange(
        self, method: str, url: URL, *, headers: Mapping[str, str] | None = None, data: bytes | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """One answer below 400, after redirects and signing in. Raises NotFound, PullError."""
        with connection_errors(self.base.authority):
            response = await self._wait_answer(method, url, headers or {}, data)
            async with response:
                if response.status >= 400:
                    raise await self._problem(method, response)
                yield response

    async def _wait_answer(
        self, method: str, url: URL, headers: Mapping[str, str], data: bytes | None
    ) -> aiohttp.ClientResponse:
        signed_in = False
        for _ in range(_MOST_REDIRECTS):
            authorization = self._authorization if url.origin() == self.base else ""
            sent = {**headers, **({"Authorization": authorization} if authorization else {})}
            response = await self._session.request(method, url, headers=sent, data=data, allow_redirects=False)
            challenge = _challenge(response) if url.origin() == self.base else {}
            if challenge and not signed_in:
                response.release()
                signed_in = True
                await self._sign_in(challenge, tried=authorization)
            elif response.status in _REDIRECTS and method in {"GET", "HEAD"}:
                response.release()
                url = self.redirected(url, response.headers.get("Location", ""))
            else:
                return response
        raise PullError(f"{self.base.authority} sends from one address to the next without an end")

    def redirected(self, url: URL, location: str) -> URL:
        target = url.join(URL(location, encoded=True))
        if target.scheme != "https" and (url.scheme == "https" or target.scheme != "http"):
            raise PullError(
                f"{url.host} wants to go on at {target.scheme}://{target.host}, which is not secure; refused"
            )
        return target

    async def _sign_in(self, challenge: Mapping[str, str], *, tried: str) -> None:
        """Fetch a token as anybody gets it. Raises PullError."""
        async with self._signing_in:
            if self._authorization != tried:  # another stream has been here meanwhile
                return
            asked = dict(challenge)
            realm = URL(asked.pop("realm"))
            if realm.scheme != "https" and self.base.scheme == "https":
                raise PullError(
                    f"{self.base.host} signs in at {realm.scheme}://{realm.host}, which is not secure; refused"
                )
            async with self._session.get(realm.update_query(asked), allow_redirects=False) as response:
                if response.status != 200:
                    raise PullError(f"{realm.host} gives nobody a token for {self} (status {response.status})")
                token = await self.read(response, _Token)
            self._authorization = f"Bearer {token.token or token.access_token}"

    async def _problem(self, method: str, response: aiohttp.ClientResponse) -> PullError | NotFound:
        said = " ".join((await response.content.read(300)).decode(errors="replace").split())
        what = f"{method} {response.url.host}{response.url.path}: status {response.status}"
        if response.status == 404:
            return NotFound(f"{self} has no such thing ({what})")
        if response.status in {401, 403}:
            return PullError(f"{self} does not let us in ({what}): it does not exist, or is not open to everybody")
        kind = ConnectionLost if response.status == 429 or response.status >= 500 else PullError
        return kind(f"{what}{f': {said}' if said else ''}")


@asynccontextmanager
async def open_registry(name: Name, reach: Reach) -> AsyncGenerator[Registry]:
    """Raises PullError."""
    configured = (_address(reach.registry, insecure=reach.insecure),) if reach.registry else ()
    async with open_session(reach, *configured) as session:
        yield Registry(session, base_url(name, reach), f"{name.namespace}/{name.model}")


def _challenge(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Where a token is to be had, and for what; empty where it is not said."""
    said = response.headers.get("WWW-Authenticate", "") if response.status == 401 else ""
    asked: dict[str, str] = dict(_CHALLENGE.findall(said))
    return asked if said.lower().startswith("bearer ") and "://" in asked.get("realm", "") else {}


async def read_bounded(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > most_bytes:
            raise PullError(f"{response.url.host} answered more than {most_bytes} bytes where a text is expected")
    return bytes(data)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
