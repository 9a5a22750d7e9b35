"""Which llama.cpp serves here, and what it can compute on: asked of itself, for a build does not show it from outside.

A GPU that its engine cannot use is the complaint that everybody has had once: models on the CPU, and nobody who says so.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from partage.domain import LaunchSettings
from partage.engine.launch import arguments
from partage.engine.spec import LaunchSpec
from partage.errors import ConfigError

log = logging.getLogger(__name__)

ASK_S = 60.0
"""The driver may take many seconds to start a GPU that nobody uses."""
BUILT_IN = "the built-in llama.cpp"
OWN_SERVER = "engine/llama-server"
"""Under PARTAGE_HOME: where `partage engine build` leaves one."""

_DEVICE = re.compile(r"^\s+((?:CUDA|ROCm|Vulkan|SYCL|MUSA|CANN|Metal)\d*): (.*)$", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    path: str | None = None
    """Of a llama-server; None: the built-in library."""
    devices: tuple[str, ...] | None = None
    """As it names them, "CUDA0: NVIDIA H200 (143167 MiB, ...)"; None: it was not asked, or did not say."""
    unknown_options: tuple[str, ...] = ()
    """Of those it would be started with: it is of another age than this."""
    complaint: str = ""
    """What it said when it did not run."""

    @property
    def name(self) -> str:
        return self.path or BUILT_IN

    @property
    def on_cuda(self) -> bool:
        return any(device.startswith("CUDA") for device in self.devices or ())

    @property
    def works(self) -> bool:
        """On a CPU, if nowhere else."""
        return not self.complaint and not self.unknown_options

    @property
    def trouble(self) -> str | None:
        """Why it cannot serve on an NVIDIA GPU, as the end of a sentence; None: it can."""
        if self.complaint:
            return f"{self.name} does not run: {self.complaint}"
        if self.unknown_options:
            return f"{self.name} is too old or too new: it does not know {', '.join(self.unknown_options)}"
        if self.on_cuda:
            return None
        listed = f"only {', '.join(self.devices)}" if self.devices else "none"
        return f"{self.name} can only use the CPU: of CUDA devices it lists {listed}"


def choose(launcher: str, home: Path, *, has_gpu: bool) -> Build:
    """The llama.cpp that serves: which one `hub.launcher` names; for "auto" one that can use the GPU, where there is one.

    They are only asked where there is a GPU: it takes seconds. Raises ConfigError where one was named that is not there.
    """
    server = None if launcher == "xllamacpp" else server_path(launcher, home)
    if not has_gpu:
        return Build(path=server)
    found = ask(server)
    if launcher == "auto" and server is not None and found.trouble is not None:
        built_in = ask(None)
        if built_in.trouble is None or (built_in.works and not found.works):
            log.warning("%s; the built-in one serves instead", found.trouble)
            return built_in
    return found


def server_path(launcher: str, home: Path) -> str | None:
    """Of the llama-server that is named, on the PATH, or made by `partage engine build`. Raises ConfigError."""
    if launcher not in ("auto", "llama-server"):
        found = shutil.which(str(Path(launcher).expanduser()))
        if found is None:
            raise ConfigError(f"hub.launcher: there is no program {launcher}")
        return found
    found = shutil.which("llama-server") or shutil.which(str(home / OWN_SERVER))
    if found is None and launcher == "llama-server":
        raise ConfigError("hub.launcher is llama-server, but there is no llama-server on the PATH")
    return found


def ask(server: str | None) -> Build:
    """Blocks for as long as it takes to say which devices it has."""
    if server is None:
        ended, said = _run(sys.executable, "-m", "partage.worker.devices")
        if ended != 0:
            return Build(complaint=_last_line(said))
        return Build(devices=tuple(json.loads(_last_line(said))))
    ended, said = _run(server, "--list-devices")
    if ended != 0:
        return Build(path=server, complaint=_last_line(said))
    return Build(
        path=server,
        devices=tuple(f"{name}: {words}" for name, words in _DEVICE.findall(said)),
        unknown_options=_unknown_options(server),
    )


def _unknown_options(server: str) -> tuple[str, ...]:
    ended, said = _run(server, "--help")
    known = set(_OPTION.findall(said))
    return tuple(one for one in options() if one not in known) if ended == 0 and known else ()


def options() -> list[str]:
    """Every option that a llama-server may be started with."""
    settings = LaunchSettings(context_tokens=1, slots=1, threads=1, embedding=True, split=(1.0, 1.0))
    everything = LaunchSpec(
        id="", model_path="m", projector_path="p", chat_template="t", settings=settings, run_dir="", repack=False
    )
    return [word for word in arguments(everything, "socket", "key") if word.startswith("--")]


def _run(*command: str) -> tuple[int | None, str]:
    """(how it ended, None: not at all; what it said)."""
    try:
        ended = subprocess.run(  # noqa: S603 the program is the configuration's
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=ASK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"it did not answer within {ASK_S:.0f} s"
    except OSError as error:
        return None, f"{error.strerror}"
    return ended.returncode, ended.stdout.decode(errors="replace")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it wrote nothing")
