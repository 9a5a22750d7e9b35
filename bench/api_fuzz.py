"""Hostile clients against the real hub with fake engines: bodies that are nearly right, broken HTTP, early disconnects.

    python -m bench.api_fuzz [--bodies 20000] [--broken 10000] [--seed 1]

Nothing may end in a 500 or 502, and when all is over no ticket, slot, stream, engine or task may be left.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import collections
import copy
import json
import logging
import random
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from bench.fuzz_hub import FuzzHub, fuzz_hub
from partage.engine.fake import Behaviour

OURS = frozenset({500, 501, 502})
"""A status that says the defect is ours."""
WORKERS = 24
QUICK = Behaviour(load_s=0.002, stop_s=0.001, tokens_per_s=4000, prompt_tokens_per_s=100_000)

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TALK: list[Any] = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "one two three"}]
COMMON: dict[str, Any] = {
    "keep_alive": "5m",
    "options": {"temperature": 0.5, "num_predict": 3, "stop": ["x"], "seed": 1},
}

GOOD: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/chat"): {
        "model": "chatty", "messages": [*TALK, {"role": "tool", "content": "7", "tool_name": "f"}], "tools": [TOOL],
        "stream": True, "format": SCHEMA, "think": True, "logprobs": True, "top_logprobs": 2, **COMMON,
    },
    ("POST", "/api/generate"): {
        "model": "coder", "prompt": "a b", "suffix": "c", "system": "s", "raw": False, "images": [], "stream": False,
        "context": [], "template": "", **COMMON,
    },
    ("POST", "/api/embed"): {"model": "embedder", "input": ["a", "b"], "truncate": True, "dimensions": 2, **COMMON},
    ("POST", "/api/embeddings"): {"model": "embedder", "prompt": "a", **COMMON},
    ("POST", "/api/show"): {"model": "chatty", "verbose": True},
    ("POST", "/api/pull"): {"model": "new", "stream": True, "insecure": False},
    ("POST", "/api/push"): {"model": "chatty", "stream": False},
    ("POST", "/api/create"): {"model": "mine", "from": "chatty", "system": "s", "parameters": {"seed": 1}},
    ("POST", "/api/copy"): {"source": "chatty", "destination": "other"},
    ("DELETE", "/api/delete"): {"model": "chatty"},
    ("POST", "/v1/chat/completions"): {
        "model": "seer", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 3, "n": 1, "seed": 1,
        "messages": [{"role": "user", "content": [
            {"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ]}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        "tools": [], "tool_choice": "auto", "logit_bias": {"1": 2.0}, "logprobs": True, "top_logprobs": 1,
    },
    ("POST", "/v1/completions"): {"model": "coder", "prompt": ["a b"], "max_tokens": 3, "logprobs": 1, "echo": False},
    ("POST", "/v1/embeddings"): {"model": "embedder", "input": [[1, 2], [3]], "encoding_format": "base64", "dimensions": 2},
    ("POST", "/v1/responses"): {
        "model": "chatty", "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "7"},
        ],
        "tools": [{"type": "function", "name": "f"}], "text": {"format": {"type": "text"}}, "stream": True,
        "include": ["message.output_text.logprobs"], "reasoning": {"effort": "low"}, "max_output_tokens": 3,
    },
    ("POST", "/v1/messages"): {
        "model": "chatty", "max_tokens": 3, "system": [{"type": "text", "text": "s"}], "stream": True,
        "messages": [{"role": "user", "content": [
            {"type": "text", "text": "hi"}, {"type": "tool_result", "tool_use_id": "c", "content": "7"},
        ]}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "any"},
        "thinking": {"type": "enabled", "budget_tokens": 9},
    },
    ("POST", "/v1/messages/count_tokens"): {"model": "chatty", "messages": TALK[1:]},
    ("POST", "/admin/pin"): {"model": "chatty", "pinned": False},
    ("POST", "/admin/pause"): {"model": "chatty", "paused": False},
}  # fmt: skip

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 0.5, 1e308, -0.0, "", " ", "x", "\0", "\ud83d\ude00", "a" * 300,
    "../../etc/passwd", "%s%n", "-1", "5m", "9" * 40, "NaN", [], {}, [None], [[]], {"": None}, [1, "a", None, {}], {"type": "object"},
    "chatty", "embedder", "nope:latest", "a/b/c/d", "http://127.0.0.1/x.png", "data:image/png;base64,####",
)  # fmt: skip


@dataclass
class Tally:
    statuses: collections.Counter[int] = field(default_factory=collections.Counter[int])
    defects: list[str] = field(default_factory=list[str])

    def note(self, status: int, what: str) -> None:
        self.statuses[status] += 1
        if status in OURS:
            self.defects.append(f"{status} for {what[:600]}")


def mutated(body: dict[str, Any], random_: random.Random) -> dict[str, Any]:
    changed = copy.deepcopy(body)
    for _ in range(random_.choice((0, 1, 1, 1, 2, 3))):
        places = list(_places(changed))
        if not places:
            break
        holder, key = random_.choice(places)
        match random_.randrange(6):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder["".join(random_.choices("abc_\0", k=4))] = random_.choice(STRANGE)
            case 2:
                holder[key] = [holder[key]] * random_.choice((0, 2, 40))
            case 3:
                other, other_key = random_.choice(places)
                holder[key] = copy.deepcopy(other[other_key])
            case _:
                holder[key] = copy.deepcopy(random_.choice(STRANGE))
    return changed


def _places(value: Any) -> Iterable[tuple[Any, Any]]:  # noqa: ANN401 any JSON
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(pairs):
        yield value, key
        yield from _places(part)


async def send_bodies(hub: FuzzHub, count: int, seed: int, tally: Tally) -> None:
    random_ = random.Random(seed)
    cases = iter([(random_.choice(list(GOOD)), random_.randrange(2**60)) for _ in range(count)])
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def work() -> None:
            for (method, path), own_seed in cases:
                body = json.dumps(mutated(GOOD[method, path], random.Random(own_seed))).encode()
                async with session.request(method, f"http://127.0.0.1:{hub.port}{path}", data=body) as answer:
                    await answer.read()
                    tally.note(answer.status, f"{method} {path} {body!r}")

        await _together(work)


def _head(method: str, path: str, *headers: str, host: str = "localhost") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", "")).encode(
        "utf-8", "surrogateescape"
    )


def broken_request(random_: random.Random) -> bytes:
    method, path = random_.choice(list(GOOD))
    body = msgspec.json.encode(GOOD[method, path])
    break_it = random_.choice((broken_body, broken_framing, broken_headers, broken_line))
    return break_it(random_, method, path, body)


def broken_body(random_: random.Random, method: str, path: str, body: bytes) -> bytes:
    cut = random_.randrange(len(body))
    noise = random_.randbytes(random_.randrange(1, 200))
    match random_.randrange(5):
        case 0:
            sent = body[:cut]
        case 1:
            sent = noise
        case 2:
            sent = body[:cut] + noise[:3] + body[cut:]
        case 3:
            sent = b'{"model":"chatty","messages":' + b"[" * 50_000
        case _:
            sent = b" " * 10_000
    return _head(method, path, f"Content-Length: {len(sent)}") + sent


def broken_framing(random_: random.Random, method: str, path: str, body: bytes) -> bytes:
    match random_.randrange(5):
        case 0:
            return _head(method, path, f"Content-Length: {len(body)}") + body[: random_.randrange(len(body))]
        case 1:
            return _head(method, path, f"Content-Length: {random_.choice(('x', '-1', '9' * 30, '1, 2', ''))}") + body
        case 2:
            return _head(method, path, "Transfer-Encoding: chunked") + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
        case 3:
            return _head(method, path, "Transfer-Encoding: chunked") + b"zz\r\n" + body
        case _:
            return (_head(method, path, f"Content-Length: {len(body)}") + body) * 3


def broken_headers(random_: random.Random, method: str, path: str, body: bytes) -> bytes:
    lines = random_.choice(
        (
            [f"Content-Encoding: {random_.choice(('gzip', 'br', 'identity', 'x'))}"],
            ["X-Long: " + "y" * random_.choice((10_000, 100_000))],
            [f"X-{number}: {number}" for number in range(300)],
            ["no colon here", ": nothing", "X\0: y"],
            ["X-Partage-Timeout: soon"],
            ["X-Partage-Timeout: 0.0001"],
            ["Authorization: Bearer \x80"],
            ["Origin: null"],
            ["Expect: 100-continue"],
        )
    )
    host = random_.choice(("localhost", "localhost", "evil.example", "", "[::1", "a:b:c", "\x7f"))
    return _head(method, path, f"Content-Length: {len(body)}", *lines, host=host) + body


def broken_line(random_: random.Random, method: str, path: str, body: bytes) -> bytes:
    odd_paths = ("/%00", "/api/" + "x" * 5000, "//", path + "/", "/v1/models/../x", "/?" + "&" * 99, "*")
    match random_.randrange(3):
        case 0:
            return random_.randbytes(200)
        case 1:
            return _head("GET", random_.choice(odd_paths))
        case _:
            verb = random_.choice(("BREW", "HEAD", "OPTIONS", "PUT", "GET"))
            return _head(verb, path, f"Content-Length: {len(body)}") + body


async def send_broken(hub: FuzzHub, count: int, seed: int, tally: Tally) -> None:
    seeds = iter(range(seed * 1_000_003, seed * 1_000_003 + count))

    async def work() -> None:
        for own_seed in seeds:
            random_ = random.Random(own_seed)
            data = broken_request(random_)
            patience_s = random_.choice((0.0, 0.0, 0.002, 0.01, 0.1))
            status = await _said_to(hub.port, data, patience_s, resets=random_.random() < 0.4)
            tally.note(status, f"seed {own_seed}: {data[:300]!r}")

    await _together(work)


async def _said_to(port: int, data: bytes, patience_s: float, *, resets: bool) -> int:
    """Send, wait so long for an answer at most, leave: with a reset, or in good order. 0: there was no answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b""
    try:
        writer.write(data)
        if patience_s:
            async with asyncio.timeout(patience_s):
                head = await reader.read(64)
                await reader.read(random.randrange(1, 400))
    except (TimeoutError, OSError):
        pass
    finally:
        if resets:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
    return int(head[9:12]) if head.startswith(b"HTTP/1.1 ") else 0


async def _together(work: Callable[[], Awaitable[None]]) -> None:
    async def one() -> None:
        await work()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(WORKERS):
            tasks.create_task(one())


async def fuzz(bodies: int, broken: int, seed: int) -> Tally:
    """Raises TimeoutError when something is left held."""
    tally = Tally()
    async with fuzz_hub(QUICK) as hub:
        await send_bodies(hub, bodies, seed, tally)
        await send_broken(hub, broken, seed, tally)
        try:
            await hub.wait_idle()
        except TimeoutError:
            tally.defects.append(f"left behind: {hub.leaks()}")
    return tally


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bodies", type=int, default=20_000)
    arguments.add_argument("--broken", type=int, default=10_000)
    arguments.add_argument("--seed", type=int, default=1)
    asked = arguments.parse_args()
    logging.disable(logging.WARNING)  # of every request that is not HTTP
    began_s = time.perf_counter()
    tally = asyncio.run(fuzz(asked.bodies, asked.broken, asked.seed))
    print(f"{asked.bodies} bodies, {asked.broken} broken requests in {time.perf_counter() - began_s:.0f} s")
    print("statuses (0: none was read):", dict(sorted(tally.statuses.items())))
    for defect in tally.defects[:20]:
        print(defect)
    print(f"{len(tally.defects)} defects")
    if tally.defects:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
