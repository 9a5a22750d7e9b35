"""What the policy is told of a model before it is first asked for: how it can be placed, and what that should cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from partage.config import HubConfig, ModelConfig
from partage.device.discovery import gpus_named
from partage.domain import Capability, Device, DeviceId, LaunchSettings, Model, Placement
from partage.hub.load_times import guess_s, kind_of
from partage.policy.events import ModelLearned, ModelProfile
from partage.policy.placements import Wish, placements_for

DEFAULT_SLOTS = 4
EMBEDDING_BATCH_TOKENS = 512
"""An input longer than the batch is refused by llama.cpp, and 512 is the longest a BERT reads anyway."""
CHAT_BATCH_TOKENS = 256
"""A client that leaves during the prompt is noticed between batches."""

MEMORY_BYTES_PER_S = {"host": 12e9, "cuda": 400e9}
"""A decoded token reads every weight once."""


class Profiles:
    """One per hub. Remembers how much context each model was last asked for.

    Raises ConfigError for a model whose GPU is not among the devices.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        hub: HubConfig,
        models: Mapping[str, ModelConfig],
        *,
        default_threads: int,
        load_s: Callable[[Model, Placement], float] | None = None,
    ) -> None:
        """`load_s`: what a load is expected to take; None: a guess."""
        self._measured_load_s = load_s
        self.corrected: Callable[[Model, Placement], Placement] = lambda _model, placement: placement
        """A placement with what it was measured to hold, where it was."""
        self._devices = tuple(devices)
        self._hub = hub
        self._models = models
        self._threads = default_threads
        self._gpus = {
            name: gpus_named(devices, entry.gpu, f"models.{name}.gpu")
            for name, entry in models.items()
            if entry.gpu is not None
        }
        self._learned: dict[str, tuple[str, int]] = {}
        self._outdated: set[str] = set()
        """Told of with devices that are better known since."""

    def learn(self, model: Model, context_tokens: int | None) -> ModelLearned | None:
        """News about the model: at first sight, when its file changed, and when a larger context is asked for."""
        wished = self._context_tokens(model)
        known_digest, known_tokens = self._learned.get(model.name, ("", 0))
        if known_digest != model.digest:
            known_tokens = 0
        largest = model.anatomy.context_train_tokens or wished
        tokens = max(known_tokens, wished, min(context_tokens or 0, largest))
        if (known_digest, known_tokens) == (model.digest, tokens) and model.name not in self._outdated:
            return None
        self._outdated.discard(model.name)
        self._learned[model.name] = (model.digest, tokens)
        return ModelLearned(self._profile(model, tokens))

    def overhead_measured(self, device: DeviceId, size: int) -> None:
        """What the driver takes for a process is known better: models are placed anew when they are next asked for."""
        self._devices = tuple(replace(one, overhead_bytes=size) if one.id == device else one for one in self._devices)
        self._outdated |= self._learned.keys()

    def outdated(self, model: str) -> None:
        """More is known of it: it is told of anew when it is next asked for."""
        self._outdated.add(model)

    def forget(self, model: str) -> None:
        self._learned.pop(model, None)

    def keep_alive_s(self, model: str) -> float | None:
        return self._config(model).keep_alive_s

    def is_pinned(self, model: str) -> bool:
        return self._config(model).keep == "pinned"

    def _gpus_of(self, model: str) -> tuple[DeviceId, ...] | None:
        return self._gpus.get(model, self._gpus.get(model.removesuffix(":latest")))

    def _config(self, model: str) -> ModelConfig:
        """The entry of that name; "llama3.2" speaks for "llama3.2:latest"."""
        return self._models.get(model) or self._models.get(model.removesuffix(":latest")) or ModelConfig()

    def _context_tokens(self, model: Model) -> int:
        wished = self._config(model.name).context_tokens or self._hub.context_tokens
        return min(wished, model.anatomy.context_train_tokens or wished)

    def _profile(self, model: Model, context_tokens: int) -> ModelProfile:
        if model.remote is not None:
            settings = LaunchSettings(context_tokens=context_tokens, slots=model.remote.slots, threads=0)
            placements = (Placement(settings=settings, shares=()),)
            # Only an Ollama server can be asked to let a model go.
            pinned = model.remote.kind != "ollama" or self.is_pinned(model.name)
            return ModelProfile(model=model.name, placements=placements, load_s=1.0, pinned=pinned)
        estimated = placements_for(model.anatomy, model.projector, self._devices, self._wish(model, context_tokens))
        placements = tuple(self._corrected(model, one) for one in estimated)
        return ModelProfile(
            model=model.name,
            placements=placements,
            load_s=self._load_s(model, placements[0]),
            prefill_tokens_per_s=8 * _decode_tokens_per_s(placements[0], self._devices),
            decode_tokens_per_s=_decode_tokens_per_s(placements[0], self._devices),
            pinned=self.is_pinned(model.name),
            floor_slots_interactive=1 if placements[0].settings.slots > 1 else 0,
        )

    def _corrected(self, model: Model, placement: Placement) -> Placement:
        """What has run here is not refused because it held a little more than the device's budget."""
        budgets = {device.id: device.budget_bytes for device in self._devices}
        corrected = self.corrected(model, placement)
        fits = all(share.total_bytes <= budgets.get(device, 0) for device, share in corrected.shares)
        return corrected if fits else placement

    def _load_s(self, model: Model, placement: Placement) -> float:
        return self._measured_load_s(model, placement) if self._measured_load_s else guess_s(placement, self._devices)

    def _wish(self, model: Model, context_tokens: int) -> Wish:
        config = self._config(model.name)
        embedding = Capability.EMBEDDING in model.capabilities
        kv_type = config.kv_type or self._hub.kv_type
        return Wish(
            context_tokens=context_tokens,
            least_context_tokens=context_tokens,
            slots=config.slots or self._hub.slots or DEFAULT_SLOTS,
            threads=config.threads or self._threads,
            batch_tokens=EMBEDDING_BATCH_TOKENS if embedding else CHAT_BATCH_TOKENS,
            kv_type_k=kv_type,
            kv_type_v=kv_type,
            flash_attention=self._hub.flash_attention if config.flash_attention is None else config.flash_attention,
            prompt_cache_bytes=0 if embedding else self._hub.prompt_cache_bytes,
            embedding=embedding,
            gpus=self._gpus_of(model.name),
            gpu_layers=config.gpu_layers,
        )


def _decode_tokens_per_s(placement: Placement, devices: Sequence[Device]) -> float:
    weights = sum(share.weights_bytes + share.repack_bytes for _, share in placement.shares)
    return MEMORY_BYTES_PER_S[kind_of(placement, devices)] / max(1, weights)
