"""Whether SmolLM2 as Q8_0 is faster on this CPU than as the Q4_1 it comes in, and says the same.

    python -m bench requantise

Prompt and decode rates are measured by turns, on one thread, which other work on the machine disturbs least; "says the
same" compares the next token's probabilities after every prefix of some texts.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from partage.domain import LaunchSettings
from partage.engine.llamacpp import LlamaCpp
from partage.engine.spec import LaunchSpec
from partage.models.pull import pull
from partage.models.store import Store
from partage.work import CompletionWork, Delta, Done, Sampling, TokenLogprob, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

NAMES = ("smollm2:135m-instruct-q4_1", "smollm2:135m-instruct-q8_0")
ROUNDS = 3
PROMPT = "The quick brown fox jumps over the lazy dog near the river bank while the sun goes down. " * 24
TEXTS = (
    "The capital of France is Paris, which lies on the river Seine and has about two million inhabitants.",
    "To return a product, send it back within thirty days together with the receipt and the reason for the return.",
    "def add(first, second):\n    return first + second\n\nprint(add(2, 3))  # prints 5",
    "Water boils at one hundred degrees Celsius at sea level, and at a lower temperature on high mountains.",
)


@asynccontextmanager
async def engine(path: str, run_dir: str) -> AsyncGenerator[LlamaCpp]:
    settings = LaunchSettings(context_tokens=2048, slots=1, threads=1)
    started = LlamaCpp(LaunchSpec(id="bench", model_path=path, settings=settings, run_dir=run_dir))
    await started.start()
    try:
        yield started
    finally:
        await started.stop(2)


async def complete(engine: LlamaCpp, prompt: str, sampling: Sampling) -> tuple[list[TokenLogprob], Usage]:
    logprobs: list[TokenLogprob] = []
    async with aclosing(engine.stream(CompletionWork(prompt=prompt, sampling=sampling))) as outputs:
        async for output in outputs:
            if isinstance(output, Delta):
                logprobs += output.logprobs
            elif isinstance(output, Done):
                return logprobs, output.usage
    raise AssertionError("no end")


async def rates(path: str, run_dir: str, number: int) -> tuple[float, float]:
    """Prompt and decode tokens per second; each round has a prompt of its own, which no cache knows."""
    async with engine(path, run_dir) as started:
        await complete(started, "Warm up.", Sampling(max_tokens=4))
        _, usage = await complete(started, f"Round {number}. {PROMPT}", Sampling(max_tokens=64, temperature=0))
        return (usage.prompt_tokens - usage.cached_tokens) / usage.prefill_s, usage.output_tokens / usage.decode_s


async def next_tokens(path: str, run_dir: str) -> list[TokenLogprob]:
    found: list[TokenLogprob] = []
    async with engine(path, run_dir) as started:
        for text in TEXTS:
            words = text.split(" ")
            for count in range(2, len(words)):
                wanted = Sampling(max_tokens=1, temperature=0, logprobs=5)
                logprobs, _ = await complete(started, " ".join(words[:count]), wanted)
                found += logprobs[:1]
    return found


def agreement(first: Sequence[TokenLogprob], second: Sequence[TokenLogprob]) -> tuple[float, float]:
    """Share of equal best tokens; mean difference of the best token's log probability where both name it."""
    equal = [one.token == other.token for one, other in zip(first, second, strict=True)]
    apart = [
        abs(one.logprob - dict(other.top)[one.token])
        for one, other in zip(first, second, strict=True)
        if one.token in dict(other.top)
    ]
    return statistics.mean(equal), statistics.mean(apart)


async def measure() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for name in NAMES:
            async with aclosing(pull(store, name)) as steps:
                async for _ in steps:
                    pass
        paths = [store.get(name).path for name in NAMES]
        measured: list[list[tuple[float, float]]] = [[], []]
        for number in range(ROUNDS):
            for index, path in enumerate(paths):
                measured[index].append(await rates(path, folder, number))
        medians = [[statistics.median(column) for column in zip(*rows, strict=True)] for rows in measured]
        for name, (prompt, decode) in zip(NAMES, medians, strict=True):
            print(f"{name}: prompt {prompt:.0f} tokens/s, decode {decode:.0f} tokens/s")
        print(f"Q8_0 / Q4_1: prompt {medians[1][0] / medians[0][0]:.2f}, decode {medians[1][1] / medians[0][1]:.2f}")
        said = [await next_tokens(path, folder) for path in paths]
        equal, apart = agreement(said[0], said[1])
        print(f"same next token in {equal:.1%} of {len(said[0])} places; its log probability differs by {apart:.4f}")


def main() -> None:
    asyncio.run(measure())


if __name__ == "__main__":
    main()
