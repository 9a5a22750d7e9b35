"""Reads a Modelfile: FROM, PARAMETER, SYSTEM, TEMPLATE, LICENSE, MESSAGE; the rest is refused or passed over by name.

Values may be bare, in "quotes", or between triple quotes over several lines; commands are case-insensitive.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from partage.errors import InvalidRequest, Unsupported

Parameter: TypeAlias = bool | int | float | str | list[str]

_LARGEST_CHARACTERS = 4 << 20
_COMMAND = re.compile(r"(?P<command>[A-Za-z]+)[ \t]+(?P<rest>.*)\Z", re.DOTALL)
_ROLES = frozenset({"system", "user", "assistant"})
_PASSED_OVER = frozenset({"RENDERER", "PARSER", "REQUIRES"})


def _boolean(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError
    return text.lower() == "true"


def _finite(text: str) -> float:
    # JSON, in which a manifest is kept, has no others.
    if not math.isfinite(number := float(text)):
        raise ValueError
    return number


PARAMETERS: Mapping[str, Callable[[str], bool | int | float | str]] = {
    **dict.fromkeys(("num_ctx", "num_predict", "num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread"), int),
    **dict.fromkeys(("seed", "top_k", "repeat_last_n", "mirostat", "draft_num_predict"), int),
    **dict.fromkeys(("temperature", "top_p", "min_p", "typical_p", "tfs_z", "repeat_penalty"), _finite),
    **dict.fromkeys(("presence_penalty", "frequency_penalty", "mirostat_tau", "mirostat_eta"), _finite),
    **dict.fromkeys(("use_mmap", "use_mlock", "numa", "low_vram", "f16_kv", "penalize_newline"), _boolean),
    "stop": str,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Modelfile:
    """None: what the base model has."""

    bases: tuple[str, ...]
    """FROM: a model, or the path of a GGUF; a second one is the vision projector."""
    parameters: dict[str, Parameter] = field(default_factory=dict[str, Parameter])
    system: str | None = None
    template: str | None = None
    licence: str | None = None
    messages: tuple[tuple[str, str], ...] | None = None


def parse(text: str) -> Modelfile:
    """Raises InvalidRequest naming the line, Unsupported."""
    if len(text) > _LARGEST_CHARACTERS:
        raise InvalidRequest("the Modelfile is too long to be one")
    draft = _Draft()
    for number, command, value in _commands(text.removeprefix("\ufeff")):
        try:
            draft.take(command, value)
        except ValueError as error:
            raise InvalidRequest(f"Modelfile line {number}: {error}") from None
    return draft.finished()


@dataclass(slots=True)
class _Draft:
    bases: list[str] = field(default_factory=list[str])
    parameters: dict[str, Parameter] = field(default_factory=dict[str, Parameter])
    licences: list[str] = field(default_factory=list[str])
    messages: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    texts: dict[str, str] = field(default_factory=dict[str, str])

    def take(self, command: str, value: str) -> None:
        """Raises ValueError, Unsupported."""
        match command:
            case "FROM":
                self.bases.append(value)
            case "PARAMETER":
                self._parameter(*_two_words(value))
            case "SYSTEM" | "TEMPLATE":
                self.texts[command] = value
            case "LICENSE":
                self.licences.append(value)
            case "MESSAGE":
                role, content = _two_words(value)
                if role not in _ROLES:
                    raise ValueError("MESSAGE needs system, user or assistant, then a text")
                self.messages.append((role, content))
            case "ADAPTER":
                raise Unsupported("ADAPTER: adapters (LoRA) are not supported; use a model it is merged into")
            case command if command in _PASSED_OVER:
                pass
            case _:
                raise ValueError(f"{command[:20]!r} is none of FROM, PARAMETER, SYSTEM, TEMPLATE, LICENSE, MESSAGE")

    def _parameter(self, name: str, text: str) -> None:
        if name not in PARAMETERS:
            raise ValueError(f"{name[:40]!r} is no parameter; known: {', '.join(PARAMETERS)}")
        try:
            value = PARAMETERS[name](text)
        except ValueError:
            raise ValueError(f"{name} cannot be {text[:40]!r}") from None
        if name == "stop":
            earlier = self.parameters.get(name, [])
            assert isinstance(earlier, list)
            self.parameters[name] = [*earlier, str(value)]
        else:
            self.parameters[name] = value

    def finished(self) -> Modelfile:
        if not self.bases:
            raise InvalidRequest("the Modelfile has no FROM line: name a model or a GGUF file")
        if len(self.bases) > 2:
            raise InvalidRequest("the Modelfile has more than two FROM lines: weights and their projector are all")
        return Modelfile(
            bases=tuple(self.bases),
            parameters=self.parameters,
            system=self.texts.get("SYSTEM"),
            template=self.texts.get("TEMPLATE"),
            licence="\n\n".join(self.licences) if self.licences else None,
            messages=tuple(self.messages) if self.messages else None,
        )


def _commands(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, command and value."""
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        found = _COMMAND.match(bare)
        if found is None:
            raise InvalidRequest(f"Modelfile line {number}: {bare[:40]!r} is not a command and its value")
        command, rest = found["command"].upper(), found["rest"].strip()
        opening = rest.find('"""')
        if opening >= 0 and rest.count('"""') == 1:
            pieces = [rest]
            for _, following in lines:
                pieces.append(following)
                if '"""' in following:
                    break
            else:
                raise InvalidRequest(f'Modelfile line {number}: the text that begins with """ has no end')
            rest = "\n".join(pieces)
        yield number, command, rest if command in {"MESSAGE", "PARAMETER"} else _unquoted(rest)


def _unquoted(text: str) -> str:
    for quote in ('"""', '"'):
        if text.startswith(quote) and text.rstrip().endswith(quote) and len(text.rstrip()) >= 2 * len(quote):
            return text.rstrip()[len(quote) : -len(quote)]
    return text


def _two_words(value: str) -> tuple[str, str]:
    first, _, rest = value.partition(" ")
    return first, _unquoted(rest.strip())
