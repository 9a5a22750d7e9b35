"""Is a service able to serve? Its /healthz, and of the hub one token (or vector) from a model that is loaded.

Loads nothing, and does not lengthen a model's stay: the request carries the time that is left to it.
"""

from __future__ import annotations

from datetime import datetime

import aiohttp

from partage.client.hub_client import HubClient
from partage.client.wire import RunningModel
from partage.errors import PartageError, Refused, ServiceUnreachable, Unsupported
from partage.work import Message

LEAST_STAY_S = 1.0


async def check_page(url: str, timeout_s: float) -> str:
    """Raises ServiceUnreachable when the page is not served with status 200 in time."""
    page = f"{url.rstrip('/')}/healthz"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session,
            session.get(page) as response,
        ):
            if response.status != 200:
                raise ServiceUnreachable(f"{page} answers {response.status}: {(await response.text())[:200]}")
    except aiohttp.ClientConnectorError:
        raise ServiceUnreachable(f"nothing answers at {url}") from None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ServiceUnreachable(f"{page}: {error or 'no answer in time'}") from error
    return "answers"


async def check_hub(url: str, key: str | None, timeout_s: float, model: str | None, now: datetime) -> str:
    """What was found, in a few words. Raises what is wrong.

    A refusal counts as health: a hub that says "busy" decides. A model that is named is asked even if it must be loaded.
    """
    await check_page(url, timeout_s)
    async with HubClient(url, api_key=key, timeout_s=timeout_s, retry=False) as hub:
        running = await hub.running()
        if model is None and not running:
            return "answers; no model is loaded"
        chosen = min(running, key=lambda one: one.size_bytes) if model is None else None
        name = chosen.name if chosen else str(model)
        try:
            await _one_token(hub, name, _stay_s(chosen, now))
        except Refused as error:
            return f"answers; busy ({error.message})"
        return f"answers; {name} works"


async def _one_token(hub: HubClient, model: str, keep_alive_s: float | None) -> None:
    shown = await hub.show(model)
    capabilities = shown.get("capabilities")
    if isinstance(capabilities, list) and "embedding" in capabilities:
        await hub.embed(model, ["health"])
        return
    answer = await hub.chat(
        model, [Message(role="user", content="Hi")], options={"num_predict": 1}, keep_alive=keep_alive_s
    )
    if not answer.finish_reason:
        raise Unsupported(f"{model} ended without a reason")


def _stay_s(model: RunningModel | None, now: datetime) -> float | None:
    """The seconds left to a loaded model; None leaves it to the hub."""
    if model is None:
        return None
    try:
        left_s = (datetime.fromisoformat(model.expires_at) - now).total_seconds()
    except (ValueError, TypeError):
        return None
    return max(LEAST_STAY_S, left_s)


async def check(service: str, url: str, key: str | None, timeout_s: float, model: str | None, now: datetime) -> str:
    """Raises a PartageError saying what is wrong."""
    if service == "hub":
        try:
            return await check_hub(url, key, timeout_s, model, now)
        except TimeoutError as error:
            raise PartageError(f"{url}: no answer within {timeout_s:.0f} s") from error
    return await check_page(url, timeout_s)
