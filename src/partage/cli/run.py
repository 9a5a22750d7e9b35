"""The command `partage run`: a program that holds a lease of GPU or host memory as long as it runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from partage.cli.terminal import Url, errors
from partage.client.hub_client import HubClient
from partage.client.lease import Lease, News
from partage.config import load_config
from partage.device.tree import tree
from partage.errors import ConfigError
from partage.quantities import format_bytes
from partage.serve.services import hub_url

GRACE_S = 5.0
"""Between SIGTERM and SIGKILL, when the lease is ended under the command."""
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
FORWARDED = (*ENDING, signal.SIGUSR1, signal.SIGUSR2)

NO_MEMORY = (
    "say how much memory the command will use, as in --memory 6GiB, or --exclusive; to talk to a model, use any client of "
    "Ollama's or OpenAI's API"
)

Command = Annotated[list[str], typer.Argument(metavar="-- COMMAND ...", help="What to run.")]
Memory = Annotated[str | None, typer.Option(help="How much it will use, as in 6GiB.")]
OfClass = Annotated[
    str | None, typer.Option("--class", help="interactive, normal or batch. Default: the client's own.")
]
OnDevice = Annotated[str | None, typer.Option("--device", help="A GPU's index or UUID, or host. Default: any GPU.")]
Exclusive = Annotated[bool, typer.Option(help="All of the device, and nobody else on it.")]
Cores = Annotated[
    int | None, typer.Option(help="On the host: cores it computes with; 0: it hardly does. Default: all.")
]
Name = Annotated[str, typer.Option(help="What others see of it. Default: the command.")]
MaxWait = Annotated[str | None, typer.Option(help="Give up after so long, as in 30m.")]
AsJson = Annotated[bool, typer.Option("--json", help="States as lines of JSON, on stderr.")]


def register(app: typer.Typer) -> None:
    app.command("run", context_settings={"allow_interspersed_args": False})(run_command)


def run_command(
    command: Command,
    memory: Memory = None,
    class_: OfClass = None,
    device: OnDevice = None,
    exclusive: Exclusive = False,
    cores: Cores = None,
    name: Name = "",
    max_wait: MaxWait = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Wait for a turn on the GPU, run a command with that much of its memory, and give it back however it ends."""
    show = _show_json if as_json else _Lines().show

    async def held() -> int:
        config = load_config()
        admin = config.clients.get("admin")
        async with (
            HubClient(url or hub_url(config), api_key=admin.key if admin else None) as hub,
            hub.lease(
                memory,
                class_=class_,
                device=device,
                exclusive=exclusive,
                cores=cores,
                name=name or Path(command[0]).name,
                max_wait=max_wait,
                on_news=show,
            ) as lease,
        ):
            return await _run(lease, command)

    with errors():
        if memory is None and not exclusive:
            raise ConfigError(NO_MEMORY)
        status = asyncio.run(held())
    raise typer.Exit(status)


async def _run(lease: Lease, command: list[str]) -> int:
    """The command's status, as a shell has it."""
    async with _started(lease, command) as (guard, group):
        lease.used_by(group)
        async with asyncio.TaskGroup() as tasks:
            pausing = tasks.create_task(_pause_and_resume(lease, guard.pid, group))
            status = await guard.wait()
            pausing.cancel()
    return status


@asynccontextmanager
async def _started(lease: Lease, command: list[str]) -> AsyncGenerator[tuple[asyncio.subprocess.Process, int]]:
    """The command in a process group of its own; whoever leaves early ends all of it."""
    reading, writing = os.pipe()
    guard = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "partage.worker.guard", str(os.getpid()), str(writing), "--", *command),
        env={**os.environ, **lease.environment},  # noqa: TID251 passed on, not read
        pass_fds=(writing,),
        process_group=0,
    )
    os.close(writing)
    try:
        said = await asyncio.to_thread(os.read, reading, 32)
    except BaseException:
        guard.terminate()  # it takes the command with it, if that has begun
        raise
    finally:
        os.close(reading)
    if not said:  # it said on stderr why it cannot be run
        raise typer.Exit(await guard.wait())
    group = int(said)
    with _signals_to(group), _terminal_for(group):
        try:
            yield guard, group
        finally:
            if guard.returncode is None:
                await _end(guard, group)


async def _end(guard: asyncio.subprocess.Process, group: int) -> None:
    for number in (signal.SIGTERM, signal.SIGCONT):
        _signal(group, number)
    try:
        async with asyncio.timeout(GRACE_S):
            await guard.wait()
    except TimeoutError:
        pass
    finally:
        _signal(group, signal.SIGKILL)
    await guard.wait()


async def _pause_and_resume(lease: Lease, guard: int, group: int) -> None:
    while True:
        await lease.paused.wait()
        _signal_all(guard, group, signal.SIGSTOP)
        await lease.wait_resumed()
        _signal_all(guard, group, signal.SIGCONT)


def _signal_all(guard: int, group: int, number: signal.Signals) -> None:
    """The group at once, then what has left it: the guard has that below it, also as a daemon."""
    _signal(group, number)
    for pid in tree(guard)[1:]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) != group:
                os.kill(pid, number)


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _forward(group: int, number: signal.Signals) -> None:
    _signal(group, number)
    if number in ENDING:
        _signal(group, signal.SIGCONT)  # or it would not hear of it before it is let go


@contextlib.contextmanager
def _signals_to(group: int) -> Any:  # noqa: ANN401
    """What is sent to us is meant for the command."""
    loop = asyncio.get_running_loop()
    for number in FORWARDED:
        loop.add_signal_handler(number, _forward, group, number)
    try:
        yield
    finally:
        for number in FORWARDED:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _terminal_for(group: int) -> Any:  # noqa: ANN401
    """The command reads the terminal and gets its Ctrl-C, as if it had been started without us."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        yield
        return
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    ours = os.tcgetpgrp(terminal) == os.getpgrp()
    try:
        if ours:
            _give_terminal(terminal, group)
            _signal(group, signal.SIGCONT)  # it may have asked for input already
        yield
    finally:
        if ours:
            _give_terminal(terminal, os.getpgrp())
        os.close(terminal)
        signal.signal(signal.SIGTTOU, before)


def _give_terminal(terminal: int, group: int) -> None:
    with contextlib.suppress(OSError):  # the group has ended already
        os.tcsetpgrp(terminal, group)


def _show_json(news: News) -> None:
    print(json.dumps(msgspec.to_builtins(news)), file=sys.stderr, flush=True)


class _Lines:
    """One line for each thing that happens; while nothing but waiting does, no line twice."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, news: News) -> None:
        line = _line(news)
        if line and line != self._last:
            print(f"partage: {line}", file=sys.stderr, flush=True)
        self._last = line


def _line(news: News) -> str:
    match news.state:
        case "waiting":
            wait = "" if news.predicted_wait_s is None else f", about {_rounded_s(news.predicted_wait_s)} s"
            return f"waiting at place {news.position}{wait}"
        case "granted":
            return f"{format_bytes(news.bytes)} of {news.device} after {news.waited_s:.1f} s"
        case "paused" | "warned":
            return f"{news.state}: {news.reason}"
        case "orphaned":
            return f"{news.reason}; the command goes on, but its memory is promised by nobody until the hub is back"
        case "returned":
            return "the hub is back, and the lease is held again"
        case "forgotten":
            return f"the hub is back: {news.reason}; the command goes on, but its memory is not promised to it"
        case "ended":
            return f"the hub ended the lease: {news.reason}"
        case _:
            return news.state


def _rounded_s(seconds: float) -> int:
    step = 1 if seconds < 10 else 10 if seconds < 120 else 60
    return max(step, round(seconds / step) * step)
