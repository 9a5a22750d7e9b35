"""A hub without models, for tests and benches of whatever speaks to a hub: it says back what it is told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TypeAlias

from partage.domain import Anatomy, Capability, Client, Model, Request, RequestId, TensorFacts
from partage.errors import ModelNotFound, NotFound, PartageError, Unauthorized
from partage.hub.views import QueuePosition, ResidentView, Timing
from partage.json_value import JsonObject
from partage.models.create import Recipe
from partage.models.progress import PullProgress
from partage.work import (
    ChatWork,
    CompletionWork,
    CountWork,
    Delta,
    Done,
    EmbedWork,
    Output,
    PromptProgress,
    Usage,
    Vectors,
)

Serve: TypeAlias = Callable[[Request], AsyncGenerator[Output, None]]

TIMING = Timing(queued_s=0.25, load_s=0.5, total_s=2.0)


def fake_model(name: str, *capabilities: Capability, system: str = "", size_bytes: int = 1000) -> Model:
    tensor = TensorFacts(name="token_embd.weight", type="Q8_0", shape=(64, 2_101_920), size_bytes=size_bytes)
    anatomy = Anatomy(
        architecture="llama",
        layers=2,
        embedding_length=64,
        feed_forward_length=(128, 128),
        heads=(4, 4),
        heads_kv=(2, 2),
        key_length=16,
        value_length=16,
        context_train_tokens=8192,
        vocab_tokens=100,
        causal=True,
        tensors=(tensor,),
        metadata={"general.architecture": "llama", "general.file_type": 7},
    )
    return Model(
        name=name,
        digest="sha256:" + "ab" * 32,
        path=f"/models/{name}.gguf",
        anatomy=anatomy,
        capabilities=frozenset(capabilities),
        size_bytes=size_bytes,
        modified_at="2026-11-23T10:00:00Z",
        system=system,
        parameters={"stop": ["<|im_end|>"]},
    )


CHATTY = fake_model("chatty:latest", Capability.COMPLETION, Capability.CHAT, Capability.TOOLS, Capability.THINKING)
SEER = fake_model("seer:latest", Capability.COMPLETION, Capability.CHAT, Capability.VISION)
EMBEDDER = fake_model("embedder:latest", Capability.EMBEDDING)
CODER = fake_model("coder:latest", Capability.COMPLETION, Capability.INSERT)


async def echo(request: Request) -> AsyncGenerator[Output, None]:
    """The last words back, one by one; for texts to embed, their length in each of three dimensions."""
    match request.work:
        case ChatWork(messages=messages):
            words = messages[-1].content.split()
        case CompletionWork(prompt=prompt):
            words = prompt.split()
        case EmbedWork(inputs=inputs, tokens=tokens):
            vectors = tuple((float(len(one)), 0.5, -0.25) for one in (*inputs, *tokens))
            yield Vectors(vectors=vectors, usage=Usage(prompt_tokens=len(vectors)))
            return
        case CountWork(chat=chat):
            count = sum(len(message.content.split()) for message in chat.messages)
            yield Done(finish_reason="count", usage=Usage(prompt_tokens=count))
            return
        case None:
            return
    yield PromptProgress(1, 1)
    for index, word in enumerate(words):
        yield Delta(text=word if index == 0 else f" {word}")
    usage = Usage(prompt_tokens=7, cached_tokens=3, output_tokens=len(words), prefill_s=0.125, decode_s=1.0)
    yield Done(finish_reason="stop", usage=usage)


class FakeTicket:
    def __init__(self, hub: FakeHub, request: Request) -> None:
        self._hub = hub
        self._request = request

    async def stream(self, *, whole: bool = False) -> AsyncGenerator[Output, None]:
        outcome = "cancelled"
        try:
            async with aclosing(self._hub.serve(self._request)) as outputs:
                async for output in outputs:
                    yield output
            outcome = "served"
        except PartageError:
            outcome = "failed"
            raise
        finally:
            self._hub.outcomes.append(outcome)

    @property
    def timing(self) -> Timing:
        return TIMING

    def position(self) -> QueuePosition | None:
        return self._hub.queue_position


class FakeHub:
    """Set `serve` to make it behave; read `requests` and `outcomes` ("served", "failed", "cancelled") afterwards."""

    def __init__(self, serve: Serve = echo) -> None:
        self.serve = serve
        self.requests: list[Request] = []
        self.outcomes: list[str] = []
        self.queue_position: QueuePosition | None = None
        self.refusal: PartageError | None = None
        self.pull_steps: list[PullProgress | PartageError] = []
        self.unloaded: list[str] = []
        self.pins: dict[str, bool] = {}
        self.pauses: dict[str, bool] = {}
        self.orders: list[tuple[object, ...]] = []
        """("pull", name, insecure) and so on, as they came."""
        self.blobs: dict[str, bytes] = {}
        self.keys: dict[str, Client] = {}
        self._models = {model.name: model for model in (CHATTY, SEER, EMBEDDER, CODER)}

    def add(self, model: Model) -> None:
        self._models[model.name] = model

    def admit(self, request: Request) -> FakeTicket:
        if self.refusal is not None:
            raise self.refusal
        self.requests.append(request)
        return FakeTicket(self, request)

    def identify(self, *, api_key: str | None, address: str) -> Client:
        if not self.keys:
            return Client(name=address)
        if api_key not in self.keys:
            raise Unauthorized
        return self.keys[api_key]

    def residents(self) -> list[ResidentView]:
        forever = ResidentView(
            model=CHATTY,
            size_bytes=5000,
            device_bytes=4000,
            context_tokens=4096,
            expires_in_s=None,
            state="ready",
            slots=2,
        )
        soon = ResidentView(
            model=EMBEDDER,
            size_bytes=700,
            device_bytes=0,
            context_tokens=512,
            expires_in_s=300.0,
            state="loading",
            slots=1,
        )
        return [soon, forever]

    def models(self) -> list[Model]:
        return list(self._models.values())

    def model(self, name: str) -> Model:
        canonical = name if ":" in name else f"{name}:latest"
        if canonical not in self._models:
            raise ModelNotFound(name)
        return self._models[canonical]

    async def unload(self, name: str) -> None:
        self.unloaded.append(name)

    def pin(self, name: str, *, pinned: bool) -> None:
        self.pins[self.model(name).name] = pinned

    def pause(self, name: str, *, paused: bool) -> None:
        self.pauses[self.model(name).name] = paused

    def pause_lease(self, id_: RequestId, *, paused: bool) -> None:
        if id_ != "train-1":
            raise NotFound(f"there is no lease '{id_}'")
        self.pauses[id_] = paused

    async def delete(self, name: str) -> None:
        del self._models[name]

    async def push(self, name: str, *, insecure: bool = False) -> AsyncGenerator[PullProgress, None]:
        self.orders.append(("push", self.model(name).name, insecure))
        for step in self.pull_steps:
            if isinstance(step, PartageError):
                raise step
            yield step

    async def create(self, name: str, recipe: Recipe) -> AsyncGenerator[PullProgress, None]:
        self.orders.append(("create", name, recipe))
        yield PullProgress("writing manifest")

    async def copy(self, source: str, destination: str) -> None:
        self.add(replace(self.model(source), name=destination))

    def has_blob(self, digest: str) -> bool:
        return digest in self.blobs

    async def receive_blob(self, digest: str, chunks: AsyncIterable[bytes], size_bytes: int | None) -> None:
        self.orders.append(("blob", digest, size_bytes))
        self.blobs[digest] = b"".join([chunk async for chunk in chunks])

    async def pull(self, name: str, *, insecure: bool = False) -> AsyncGenerator[PullProgress, None]:
        self.orders.append(("pull", name, insecure))
        if not self.pull_steps:
            raise ModelNotFound(name)
        for step in self.pull_steps:
            if isinstance(step, PartageError):
                raise step
            yield step

    def status(self) -> JsonObject:
        return {"models": len(self._models)}

    def check_open(self) -> None:
        if self.refusal is not None:
            raise self.refusal
