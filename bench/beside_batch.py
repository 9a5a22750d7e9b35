"""A person's chat beside a saturating batch job on another model, on the same cores: what each loses by the other.

Four ways in turn, several times over, in one hub: the chat alone, the batch job alone, both with the hub's pausing, both
without it (as two servers by hand). Targets, for p95 of the time to first token and of the time per token: at most 1.15 x
of alone; for the job: 90 % of the time the chat leaves free (beside a chat without a break: guaranteed_share.py); no
pause longer than the bound. How soon an engine stands still: standstill.py.

python -m bench beside_batch
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from bench.live_hub import CHAT, LiveHub, live_hub
from partage.json_value import JsonObject

JOB = "batch-copy"
ROUNDS, ROUND_S = 4, 8.0
STREAMS = 4
READS_S = 1.5
"""The job's prompts: in a tenth of the time they would be much of what is compared."""
THINK_S = (0.2, 0.9)
QUESTION = "Tell me in a few words how the weather was in the year {}, and what people wore. "
CONFIG = f"""
clients: {{job: {{key: job-key, class: batch}}, ana: {{key: ana-key, class: interactive}}}}
models: {{"{CHAT}": {{slots: 2, context: 2048}}, "{JOB}": {{slots: {STREAMS}, context: 2048}}}}
"""


@dataclass
class Chat:
    """What the person saw."""

    first_s: list[float] = field(default_factory=list[float])
    gaps_s: list[float] = field(default_factory=list[float])
    busy_s: float = 0.0

    def add(self, other: Chat) -> None:
        self.first_s += other.first_s
        self.gaps_s += other.gaps_s
        self.busy_s += other.busy_s


async def pieces(hub: LiveHub, key: str, body: JsonObject) -> AsyncGenerator[float, None]:
    """The time of every token."""
    headers = {"Authorization": f"Bearer {key}"}
    async with hub.session.post(f"{hub.url}/api/chat", json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            if not json.loads(line)["done"]:
                yield time.perf_counter()


def body(model: str, text: str, tokens: int) -> JsonObject:
    options: JsonObject = {"num_predict": tokens, "temperature": 0, "seed": 1}
    return {"model": model, "messages": [{"role": "user", "content": text}], "options": options}


async def person(hub: LiveHub, until: float, chat: Chat, seed: int) -> None:
    chance = random.Random(seed)  # the same questions and pauses in every way
    while time.perf_counter() < until:
        began = last = time.perf_counter()
        asked = body(CHAT, QUESTION.format(chance.randrange(1000, 2000)), 32)
        async with aclosing(pieces(hub, "ana-key", asked)) as times:
            async for at in times:
                (chat.gaps_s if last > began else chat.first_s).append(at - last)
                last = at
        chat.busy_s += time.perf_counter() - began
        await asyncio.sleep(chance.uniform(*THINK_S))


async def job(hub: LiveHub, until: float, made: list[float]) -> None:
    while time.perf_counter() < until:
        async with aclosing(pieces(hub, "job-key", body(JOB, "Write a long story about a lighthouse.", 400))) as times:
            async for at in times:
                if at > until:
                    return
                made.append(at)


async def together(hub: LiveHub, seconds: float, *, chats: bool, works: bool, seed: int = 0) -> tuple[Chat, float]:
    """What the person saw, and the job's tokens per second once it has read its prompts."""
    chat, made = Chat(), list[float]()
    began = time.perf_counter() + (READS_S if works else 0.0)
    until = began + seconds
    async with asyncio.TaskGroup() as tasks:
        for _ in range(STREAMS if works else 0):
            tasks.create_task(job(hub, until, made))
        await asyncio.sleep(began - time.perf_counter())
        if chats:
            tasks.create_task(person(hub, until, chat, seed))
    return chat, sum(at > began for at in made) / seconds


async def pauses(hub: LiveHub, on: str = "") -> dict[str, float]:
    async with hub.session.get(f"{hub.url}/bench/pauses{on and '?on=' + on}") as answer:
        return await answer.json()


def p95(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[int(0.95 * (len(ordered) - 1))]


@asynccontextmanager
async def _hub() -> AsyncGenerator[LiveHub]:
    async with live_hub(CONFIG) as hub:
        await hub.post("/api/copy", {"source": CHAT, "destination": JOB})
        try:
            for model in (CHAT, JOB):
                await hub.post("/api/generate", {"model": model, "keep_alive": -1})
            yield hub
        finally:
            async with hub.session.delete(f"{hub.url}/api/delete", json={"model": JOB}):
                pass


async def measure() -> None:
    names = ("alone", "managed", "unmanaged")
    seen = {name: Chat() for name in names}
    rates: dict[str, list[float]] = {name: [] for name in names}
    async with _hub() as hub:
        await together(hub, 2.0, chats=True, works=False)
        for number in range(ROUNDS):
            seen["alone"].add((await together(hub, ROUND_S, chats=True, works=False, seed=number))[0])
            rates["alone"].append((await together(hub, ROUND_S / 2, chats=False, works=True))[1])
            for name, on in (("managed", "1"), ("unmanaged", "0")):
                await pauses(hub, on)
                chat, rate = await together(hub, ROUND_S, chats=True, works=True, seed=number)
                seen[name].add(chat)
                rates[name].append(rate)
            await pauses(hub, "1")
        paused = await pauses(hub)
    alone = seen["alone"]
    first_s, token_s = p95(alone.first_s), p95(alone.gaps_s)
    for name in names:
        chat = seen[name]
        print(
            f"chat {name}: {len(chat.first_s)} answers, p95 to first token {1e3 * p95(chat.first_s):.0f} ms = "
            f"{p95(chat.first_s) / first_s:.2f} x, p95 per token {1e3 * p95(chat.gaps_s):.1f} ms = "
            f"{p95(chat.gaps_s) / token_s:.2f} x (target 1.15)"
        )
    job_alone = statistics.median(rates["alone"])
    for name in ("managed", "unmanaged"):
        free = 1 - seen[name].busy_s / (ROUNDS * ROUND_S)
        part = statistics.mean(rates[name]) / job_alone
        print(f"job {name}: {part:.0%} of its rate alone in {free:.0%} free time = {part / free:.0%} (target 90)")
    print(f"{paused['count']} pauses, longest {paused['longest_s']:.2f} s (bound {paused['bound_s']:.1f})")


def main() -> None:
    asyncio.run(measure())


if __name__ == "__main__":
    main()
