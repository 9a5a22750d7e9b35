from __future__ import annotations

import pytest

from partage.client.transport import AiohttpTransport
from partage.errors import HubUnreachable


@pytest.mark.parametrize("url", ["http://::1:11434", "ftp://hub.example.com", "http://"])
async def test_what_is_no_web_address_is_called_that(url: str):
    transport = AiohttpTransport(url, api_key=None)
    try:
        with pytest.raises(HubUnreachable, match="is not an address; write it like"):
            async with transport.exchange("GET", "/", None):
                pass
    finally:
        await transport.close()
