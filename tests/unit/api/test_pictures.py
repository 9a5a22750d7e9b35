from __future__ import annotations

from typing import Any

import httpx
import pytest
from nobody_there import refuse_connections

from partage.api.app import create_app
from partage.api.fake_hub import FakeHub
from partage.api.pictures import MOST_PICTURES, fetch, is_public
from partage.api.ports import ApiSettings
from partage.errors import InvalidRequest


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_addresses_of_the_open_network_are_public(address: str):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
        "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
        "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b:1::a00:1",
        "fec0::1",
    ],
)  # fmt: skip
def test_this_machine_its_neighbours_and_ways_to_them_are_not(address: str):
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png", "https://[::1]/a.png", "http://169.254.169.254/latest/meta-data", "http:///a.png",
        "http://user:secret@93.184.215.14/a.png", "http://[::ffff:127.0.0.1]/", "http://[broken/", "http://127.1/",
        "http://2130706433/", "http://①②⑦.0.0.1/a.png", "http://127。0。0。1/a.png", "http://127.0.0.1./",
    ],
)  # fmt: skip
async def test_what_is_not_public_is_never_asked(url: str, monkeypatch: pytest.MonkeyPatch):
    connected = refuse_connections(monkeypatch)
    with pytest.raises(InvalidRequest):
        await fetch([url])
    assert connected == []


async def test_a_request_names_a_bounded_number_of_pictures():
    with pytest.raises(InvalidRequest, match=f"at most {MOST_PICTURES}"):
        await fetch(f"http://127.0.0.1/{number}" for number in range(MOST_PICTURES + 1))


URL = "http://127.0.0.1:9/a.png"
ASKING: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}]}]
    },
    "/v1/responses": {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": URL}]}]},
    "/v1/messages": {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": URL}}]}],
    },
}


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize(("fetches", "words"), [(False, "hub.fetch_images"), (True, "not a public address")])
async def test_pictures_are_fetched_only_where_the_configuration_allows_it(path: str, fetches: bool, words: str):
    app = create_app(FakeHub(), ApiSettings(version="1", fetch_images=fetches))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        answer = await http.post(path, json={"model": "seer", **ASKING[path]})
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
