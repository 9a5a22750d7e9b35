"""Pictures that requests name by http(s) URL: fetched where that is allowed, from public addresses only.

Redirects are followed by hand and checked alike; size, type and time are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from partage.api.exchange import Exchange
from partage.api.images import image_of
from partage.api.streaming import while_present
from partage.errors import InvalidRequest, PartageError
from partage.public_addresses import CheckingResolver, is_address, is_public
from partage.work import Image

LARGEST_BYTES = 20 << 20
MOST_PICTURES = 16
MOST_REDIRECTS = 3
TIMEOUT_S = 15.0

Wanted: TypeAlias = Iterable[tuple[str, Callable[[Image], None]]]
"""A URL, and what to do with its picture."""


async def fill_in(exchange: Exchange, wanted: Wanted) -> None:
    """Fetch the pictures that a request names, as long as its client is there. Raises InvalidRequest, ClientLeft."""
    places = [(url, put) for url, put in wanted if url.startswith(("http://", "https://"))]
    if places:
        async with while_present(exchange):
            found = await fetch(url for url, _ in places)
        for url, put in places:
            put(found[url])


Allowed: TypeAlias = Callable[[str], bool]


async def fetch(urls: Iterable[str], *, allowed: Allowed = is_public) -> Mapping[str, Image]:
    """Raises InvalidRequest naming the URL."""
    wanted = sorted(set(urls))
    if len(wanted) > MOST_PICTURES:
        raise InvalidRequest(f"{len(wanted)} pictures to fetch; at most {MOST_PICTURES} in one request")

    def check(_host: str, _port: int, addresses: Sequence[str]) -> None:
        if not addresses or not all(map(allowed, addresses)):
            raise InvalidRequest("not a public address")

    connector = aiohttp.TCPConnector(resolver=CheckingResolver(check), use_dns_cache=False, force_close=True, limit=4)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        return {url: image_of(await _fetched(session, url, allowed), url[:80]) for url in wanted}


async def _fetched(session: aiohttp.ClientSession, url: str, allowed: Allowed) -> bytes:
    where = url
    try:
        for _ in range(1 + MOST_REDIRECTS):
            async with session.get(_checked(where, allowed), allow_redirects=False) as answer:
                if answer.status not in {301, 302, 303, 307, 308}:
                    return await _body(answer)
                where = urljoin(where, answer.headers.get("Location", ""))
    except PartageError as error:
        raise InvalidRequest(f"{url[:80]}: {error.message}") from None
    except (OSError, ValueError, aiohttp.ClientError) as error:  # TimeoutError is an OSError
        raise InvalidRequest(f"{url[:80]} cannot be fetched: {error or type(error).__name__}") from None
    raise InvalidRequest(f"{url[:80]}: more than {MOST_REDIRECTS} redirects")


def _checked(where: str, allowed: Allowed) -> URL:
    """As it will be asked, and not as it was written: in a URL "①②⑦.0.0.1" is 127.0.0.1."""
    url = URL(where)
    if url.scheme not in {"http", "https"} or not url.raw_host or url.user or url.password:
        raise InvalidRequest("only plain http and https URLs are fetched")
    if is_address(url.raw_host) and not allowed(url.raw_host):  # what a name means the resolver looks at
        raise InvalidRequest("not a public address")
    return url


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    if answer.status != 200:
        raise InvalidRequest(f"the server answered {answer.status}")
    if not answer.content_type.startswith("image/") and answer.content_type != "application/octet-stream":
        raise InvalidRequest(f"this is {answer.content_type[:40]}, not a picture")
    body = bytearray()
    async for chunk in answer.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > LARGEST_BYTES:
            raise InvalidRequest(f"larger than {LARGEST_BYTES >> 20} MiB")
    return bytes(body)
