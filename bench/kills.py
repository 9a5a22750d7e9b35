"""Engines killed at random moments under load: the hub lives, nothing leaks, every client gets an answer or a clear error.

    python -m bench.kills [--kills 200] [--seed 1] [--only paused]

SIGKILL while an engine loads, reads a prompt, decodes, is paused (by hand), idles, stops; while six clients ask for two models
of which one fits the memory. At the end everything that the hub holds is counted against what it held before the first request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import aiohttp

from bench.alternation import needs
from bench.census import EngineNow, Held, Phase
from bench.live_hub import CHAT, EMBED, LiveHub, live_hub
from partage.json_value import JsonObject

WANTED: tuple[tuple[Phase, int], ...] = (
    ("loading", 3),
    ("prefill", 2),
    ("decoding", 3),
    ("paused", 1),
    ("idle", 1),
)
"""What to look for, and how often of ten."""
KINDS = ("embed", "embed", "prefill", "decoding", "decoding", "whole")
"""What each client does."""
LOOK_FOR_S = 4.0
POLL_S = 0.003
ANSWERS_WITHIN_S = 10.0
LONG = "The customer returned the goods because the box was broken. " * 20
SETTLES_S = 30.0


@dataclass
class Tally:
    killed: Counter[Phase] = field(default_factory=Counter[Phase])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    """What clients got: "answer", or the error in its own words."""
    defects: list[str] = field(default_factory=list[str])
    seen: Counter[str] = field(default_factory=Counter[str])
    before: Held | None = None
    after: Held | None = None

    @property
    def leaks(self) -> dict[str, tuple[int, int]]:
        """What is held at the end, of what was held at the start."""
        assert self.before is not None
        assert self.after is not None
        names = self.before.__struct_fields__
        pairs = {name: (int(getattr(self.before, name)), int(getattr(self.after, name))) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[1] > pair[0]}


class Clients:
    """Ask for ever; whatever comes back that is neither an answer nor a clear error is a defect."""

    def __init__(self, url: str, session: aiohttp.ClientSession, tally: Tally, chance: random.Random) -> None:
        self._url = url
        self._session = session
        self._tally = tally
        self._chance = chance
        self.over = False

    async def ask_on(self, kind: str) -> None:
        number = 0
        while not self.over:
            number += 1
            await self.ask(kind, number)
            await asyncio.sleep(self._chance.random() * 0.2)

    async def ask_all(self) -> None:
        for kind in KINDS:
            await self.ask(kind, 0)

    async def ask(self, kind: str, number: int) -> None:
        try:
            match kind:
                case "embed":
                    await self._embed(number, kind)
                case "whole":
                    await self._whole(number, kind)
                case _:
                    await self._stream(number, LONG if kind == "prefill" else "Count on.", kind)
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            self._tally.defects.append(f"{kind}: {type(error).__name__}: {error}")

    async def _embed(self, number: int, kind: str) -> None:
        body: JsonObject = {"model": EMBED, "input": [f"text {number}", LONG]}
        async with self._session.post(f"{self._url}/api/embed", json=body) as answer:
            said = cast("JsonObject", await answer.json())
            if answer.status == 200:
                assert len(cast("list[object]", said["embeddings"])) == 2
            self._count("answer" if answer.status == 200 else self._words(kind, said, answer))

    async def _whole(self, number: int, kind: str) -> None:
        body = _chat(f"Say {number}.", tokens=24, stream=False)
        async with self._session.post(f"{self._url}/api/chat", json=body) as answer:
            said = cast("JsonObject", await answer.json())
            if answer.status == 200 and not said.get("done"):
                self._tally.defects.append(f"half an answer as a whole one: {said}")
            self._count("answer" if answer.status == 200 else self._words(kind, said, answer))

    async def _stream(self, number: int, text: str, kind: str) -> None:
        body = _chat(f"{number} {self._chance.random()} {text}", tokens=8 if kind == "prefill" else 60, stream=True)
        pieces = ends = 0
        async with self._session.post(f"{self._url}/api/chat", json=body) as answer:
            if answer.status != 200:
                self._count(self._words(kind, await answer.json(), answer))
                return
            async for line in answer.content:
                said = cast("JsonObject", json.loads(line))
                if "error" in said:
                    self._count(f"{'after' if pieces else 'before'} the first token: {_first_line(said)}")
                    return
                pieces += bool(cast("JsonObject", said.get("message") or {}).get("content"))
                ends += bool(said.get("done"))
        if ends != 1:
            self._tally.defects.append(f"{kind}: a stream with {pieces} pieces and {ends} ends")
        self._count("answer")

    def _words(self, kind: str, said: JsonObject, answer: aiohttp.ClientResponse) -> str:
        if not said.get("error"):
            self._tally.defects.append(f"status {answer.status} without an error: {said}")
        return f"{kind}: {answer.status}: {_first_line(said)}"

    def _count(self, outcome: str) -> None:
        self._tally.outcomes[outcome] += 1


@asynccontextmanager
async def calling(hub: LiveHub, tally: Tally, chance: random.Random) -> AsyncGenerator[Clients]:
    """Clients with connections of their own, which are closed at the end."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as session:
        yield Clients(hub.url, session, tally, chance)


def _chat(text: str, *, tokens: int, stream: bool) -> JsonObject:
    messages: list[object] = [{"role": "user", "content": text}]
    options = {"num_predict": tokens, "temperature": 1.0}
    return cast("JsonObject", {"model": CHAT, "messages": messages, "stream": stream, "options": options})


def _first_line(said: JsonObject) -> str:
    """Without the numbers, so that the same error is counted once."""
    line = str(said["error"]).split("\n", 1)[0]
    return "".join("N" if letter.isdigit() else letter for letter in line)[:110]


async def find(hub: LiveHub, phase: Phase) -> EngineNow | None:
    """An engine in that phase; after a while, any; None where there is none at all."""
    until_s = time.perf_counter() + LOOK_FOR_S
    while time.perf_counter() < until_s:
        engines = (await hub.census()).engines
        found = [one for one in engines if one.phase == phase]
        if found:
            return found[0]
        await asyncio.sleep(POLL_S)
    return next(iter((await hub.census()).engines), None)


async def somebody_answered(tally: Tally) -> None:
    """Three starts or engines in a row that die are a defect of the model: those who wait would rightly be refused."""
    answered = tally.outcomes["answer"]
    with suppress(TimeoutError):
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            while tally.outcomes["answer"] == answered:  # noqa: ASYNC110 nothing tells when it grows
                await asyncio.sleep(POLL_S)


async def kill(hub: LiveHub, count: int, tally: Tally, chance: random.Random, only: str | None = None) -> None:
    phases: list[Phase] = [phase for phase, often in WANTED for _ in range(often) if only in {None, phase}]
    while tally.killed.total() < count:
        await somebody_answered(tally)
        await asyncio.sleep(chance.random())
        phase = chance.choice(phases)
        async with paused_by_hand(hub) if phase == "paused" else nullcontext():
            engine = await find(hub, phase)
            if engine is None:
                continue
            with suppress(ProcessLookupError):
                os.kill(engine.pid, signal.SIGKILL)
                tally.killed[engine.phase] += 1


@asynccontextmanager
async def paused_by_hand(hub: LiveHub) -> AsyncGenerator[None]:
    """Both models, so that whichever serves stands still."""
    for model in (CHAT, EMBED):
        await hub.post("/admin/pause", {"model": model, "paused": True})
    try:
        yield
    finally:
        for model in (CHAT, EMBED):
            await hub.post("/admin/pause", {"model": model, "paused": False})


async def emptied(hub: LiveHub) -> Held:
    """What is held once every model has been unloaded and everything that was on its way has come to its end."""
    until_s = time.perf_counter() + SETTLES_S
    held = (await hub.census()).held
    while time.perf_counter() < until_s:
        for model in (CHAT, EMBED):
            await hub.post("/api/generate", {"model": model, "keep_alive": 0, "stream": False})
        await asyncio.sleep(0.5)
        held = (await hub.census()).held
        if not held.engines and not held.tickets:
            break
    return held


def raised(log: str) -> list[str]:
    """The last line of every traceback, and what asyncio complains of."""
    found: list[str] = []
    inside = False
    for line in log.splitlines():
        if line.startswith("Traceback"):
            inside = True
        elif inside and not line.startswith((" ", "\t")):
            found.append(line)
            inside = False
        elif "never retrieved" in line or "was destroyed but it is pending" in line:
            found.append(line)
    return found


async def murder(count: int, seed: int, model_home: Path | None = None, *, only: str | None = None) -> Tally:
    """So many kills under load. Raises where the hub does not live through it."""
    chance, tally = random.Random(seed), Tally()
    budget = max(await needs(model_home)) + (8 << 20)
    config = f"devices: [{{host: true, memory: {budget}}}]\nmodels: {{'{CHAT}': {{context: 2048}}}}"
    async with live_hub(config, model_home=model_home, whole=True) as hub:
        async with calling(hub, tally, chance) as clients:  # what is made once, at the first use, is no leak
            await clients.ask_all()
        tally.before = await emptied(hub)
        async with calling(hub, tally, chance) as clients:
            async with asyncio.TaskGroup() as tasks:
                for kind in KINDS:
                    tasks.create_task(clients.ask_on(kind))
                await kill(hub, count, tally, chance, only)
                clients.over = True
            answered = tally.outcomes["answer"]
            await clients.ask_all()
        if tally.outcomes["answer"] != answered + len(KINDS):
            tally.defects.append("the hub does not serve after the last kill")
        tally.after = await emptied(hub)
        tally.seen.update((await hub.census()).events)
        tally.defects += [f"in the log: {line}" for line in raised(hub.log.read_text(errors="replace"))]
    return tally


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--only", choices=[phase for phase, _ in WANTED], help="where such an engine is found")
    options = arguments.parse_args()
    began_s = time.perf_counter()
    tally = asyncio.run(murder(options.kills, options.seed, only=options.only))
    phases = ", ".join(f"{phase} {count}" for phase, count in tally.killed.most_common())
    print(f"{tally.killed.total()} kills in {time.perf_counter() - began_s:.0f} s: {phases}")
    print(
        f"{tally.outcomes.total()} requests, {tally.outcomes['answer']} answered, "
        f"{tally.seen['RequestRequeued']} times retried unseen; {tally.seen['EngineReady']} loads"
    )
    for outcome, count in tally.outcomes.most_common():
        if outcome != "answer":
            print(f"  {count:5} x {outcome}")
    print(f"held before {tally.before}\nheld after  {tally.after}")
    print(f"leaks: {tally.leaks or 'none'}; defects: {len(tally.defects)}")
    for defect in tally.defects[:20]:
        print(f"  {defect}")
    if tally.leaks or tally.defects:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
