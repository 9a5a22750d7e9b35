"""What Ollama's users have in their environment and .env files: read, or answered with what replaces it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from partage.errors import ConfigError, InvalidRequest
from partage.quantities import parse_duration_s

MAX_DOTENV_BYTES = 1 << 20

_ASSIGNMENT = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=\s*(?:'(?P<single>[^']*)'|"(?P<double>[^"]*)"|(?P<bare>.*?))\s*(?:\s\#.*)?""",
    re.VERBOSE,
)

GPU_KINDS = "only NVIDIA GPUs and the host are used"
NO_CLOUD = "nothing leaves this machine"
OBSOLETE: Mapping[str, str] = {
    "OLLAMA_MAX_VRAM": "set devices[].memory in partage.yaml",
    "OLLAMA_GPU_OVERHEAD": "set devices[].reserve in partage.yaml, per GPU",
    "OLLAMA_NUM_GPU": "read by nothing; set models.NAME.gpu_layers",
    "OLLAMA_GPU_LAYERS": "read by nothing; set models.NAME.gpu_layers",
    "OLLAMA_MAX_LOADED_MODELS": "Partage loads what fits; pin a model with models.NAME.keep: pinned",
    "OLLAMA_SCHED_SPREAD": "placement is per model; one device is used where one is enough",
    "OLLAMA_LLM_LIBRARY": "set hub.launcher, and put the llama-server of your choice on the PATH",
    "OLLAMA_LIBRARY_PATH": "put the llama-server of your choice on the PATH, and set hub.launcher",
    "OLLAMA_LLAMA_CPP_COMPAT": "llama.cpp is the only engine; hub.launcher says which",
    "OLLAMA_NEW_ENGINE": "read by nothing any more; llama.cpp is the only engine",
    "OLLAMA_MULTIUSER_CACHE": "read by nothing any more; set hub.prompt_cache",
    "OLLAMA_GO_TEMPLATE": "the chat template is the model's own, in Jinja",
    "OLLAMA_DEBUG": "start with --verbose",
    "OLLAMA_DEBUG_LOG_REQUESTS": "what was asked is never logged; the journal in $PARTAGE_HOME/journal has sizes and times",
    "OLLAMA_NOHISTORY": "there is no prompt whose history could be kept",
    "OLLAMA_NOPRUNE": "a file goes when the last model that uses it is deleted, not at the start",
    "OLLAMA_EDITOR": "there is no prompt that could open it",
    "OLLAMA_REMOTES": "list servers to adopt under remotes: in partage.yaml",
    "OLLAMA_CLOUD_BASE_URL": NO_CLOUD,
    "OLLAMA_AUTH": f"{NO_CLOUD}; hub.require_key asks your own clients for keys",
    "OLLAMA_VULKAN": GPU_KINDS,
    "OLLAMA_IGPU_ENABLE": GPU_KINDS,
    "OLLAMA_INTEL_GPU": GPU_KINDS,
    "OLLAMA_EXPERIMENT": "there are no experiments to choose",
    "OLLAMA_TMPDIR": "set TMPDIR",
    "LLAMA_ARG_FIT": "the hub decides what fits, by devices and models in partage.yaml",
    "LLAMA_ARG_FIT_TARGET": "set devices[].reserve in partage.yaml",
    "HIP_VISIBLE_DEVICES": GPU_KINDS,
    "ROCR_VISIBLE_DEVICES": GPU_KINDS,
    "GGML_VK_VISIBLE_DEVICES": GPU_KINDS,
    "GPU_DEVICE_ORDINAL": GPU_KINDS,
    "HSA_OVERRIDE_GFX_VERSION": GPU_KINDS,
}
"""Name -> what to do instead."""

WITHOUT_EFFECT = frozenset({"OLLAMA_NO_CLOUD", "OLLAMA_VERSION"})
"""Nothing to do and nothing to say: it is so already."""
ELSEWHERE = frozenset({"OLLAMA_MODELS", "OLLAMA_MAX_TRANSFER_STREAMS"})
"""Read where models come from."""


@dataclass(frozen=True, slots=True)
class OllamaSettings:
    hub: Mapping[str, object]
    """Fields of the hub's configuration."""
    warnings: tuple[str, ...]


def read_ollama(environ: Mapping[str, str]) -> OllamaSettings:
    """Raises ConfigError naming the variable."""
    values = {name: text.strip().strip("\"'") for name, text in environ.items()}
    hub: dict[str, object] = {}
    for name, (fields, parse) in HONOURED.items():
        if not (text := values.get(name)):
            continue
        try:
            parsed = parse(text)
        except (ValueError, InvalidRequest) as error:
            raise ConfigError(f"environment variable {name}={text!r}: {error}") from None
        found = parsed if isinstance(parsed, tuple) and len(fields) > 1 else (parsed,)
        hub.update((field, value) for field, value in zip(fields, found, strict=True) if value is not None)
    replaced = [f"{name} has no effect here: {cure}" for name, cure in OBSOLETE.items() if values.get(name)]
    known = {*HONOURED, *OBSOLETE, *WITHOUT_EFFECT, *ELSEWHERE}
    unknown = [
        f"{name} is not known here; docs/api.md lists what is read"
        for name in sorted(values)
        if name.startswith("OLLAMA_") and name not in known
    ]
    return OllamaSettings(hub, (*replaced, *unknown))


def visible_gpus(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """What CUDA_VISIBLE_DEVICES lets through; None: it is not set. "-1", like an empty value, hides every GPU."""
    text = environ.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    return tuple(names[: names.index("-1")] if "-1" in names else filter(None, names))


def read_dotenv(path: Path) -> dict[str, str]:
    """The assignments of a .env file; empty where there is none. Lines that assign nothing are passed over."""
    try:
        if path.stat().st_size > MAX_DOTENV_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_DOTENV_BYTES} bytes: that is no .env file")
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    found = (_ASSIGNMENT.fullmatch(line) for line in text.splitlines())
    return {one["name"]: one["single"] or one["double"] or one["bare"] or "" for one in found if one}


def _listen(text: str) -> tuple[str | None, int | None]:
    """(host, port) of "0.0.0.0", ":11434", "host:port", "http://host:port", "[::1]:80"."""
    bare = text.split("://", 1)[-1].split("/", 1)[0]
    host, separator, port = bare.rpartition(":")
    if not separator or "]" in port:
        host, port = bare, ""
    if port and not port.isdigit():
        raise ValueError(f"{port!r} is not a port")
    return host.strip("[]") or None, int(port) if port else None


def _keep_alive(text: str) -> float:
    """Ollama reads this one as a duration or as a bare number of seconds; negative is for ever."""
    try:
        return float(text)
    except ValueError:
        return parse_duration_s(text)


def _positive(text: str) -> int | None:
    """0 means "the server's choice"."""
    return int(text) or None


def _boolean(text: str) -> bool:
    return text.lower() not in ("0", "false", "f", "no", "off")


def _kv_type(text: str) -> str:
    if text not in ("f16", "q8_0", "q4_0"):
        raise ValueError("one of f16, q8_0, q4_0")
    return text


def _origins(text: str) -> tuple[str, ...]:
    return tuple(origin.strip() for origin in text.split(",") if origin.strip())


HONOURED: dict[str, tuple[tuple[str, ...], Callable[[str], object]]] = {
    "OLLAMA_HOST": (("host", "port"), _listen),
    "OLLAMA_KEEP_ALIVE": (("keep_alive_s",), _keep_alive),
    "OLLAMA_MAX_QUEUE": (("max_queue",), int),
    "OLLAMA_CONTEXT_LENGTH": (("context_tokens",), _positive),
    "OLLAMA_NUM_PARALLEL": (("slots",), _positive),
    "OLLAMA_KV_CACHE_TYPE": (("kv_type",), _kv_type),
    "OLLAMA_FLASH_ATTENTION": (("flash_attention",), _boolean),
    "OLLAMA_LOAD_TIMEOUT": (("load_timeout_s",), parse_duration_s),
    "OLLAMA_ORIGINS": (("origins",), _origins),
}
"""Name -> fields of the hub's configuration, and how to read them; None leaves a field as it is."""
