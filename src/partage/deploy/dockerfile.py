"""A Dockerfile: its instructions with their places, the images it starts from, and the variables it sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from partage.deploy.source import Place, Source
from partage.deploy.variables import Variable, interpolate

_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)(?:\s+|$)")
_HEREDOC = re.compile(r"<<-?\s*[\"']?([A-Za-z_]\w*)[\"']?")
_PAIR = re.compile(r"([A-Za-z_]\w*)=(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s\\]*)")


@dataclass(frozen=True, slots=True)
class Instruction:
    name: str
    """In capitals."""
    place: Place
    """From the name to the end of the last continued line."""

    @property
    def argument(self) -> str:
        return self.place.text[len(self.name) :]


@dataclass(frozen=True, slots=True)
class BaseImage:
    name: str
    """With ARG defaults filled in."""
    place: Place


@dataclass(frozen=True)
class Dockerfile:
    source: Source

    @cached_property
    def instructions(self) -> tuple[Instruction, ...]:
        found: list[Instruction] = []
        lines = self.source.lines
        number = 1
        while number <= len(lines):
            match = _INSTRUCTION.match(lines[number - 1])
            first = number
            number = _last_line(lines, number) if match else number
            if match:
                start = self.source.place(first, match.start(1) + 1)
                end = self.source.place(number, len(lines[number - 1]) + 1).start
                found.append(Instruction(match[1].upper(), Place(self.source, first, start.column, start.start, end)))
            number += 1
        return tuple(found)

    @cached_property
    def arguments(self) -> Mapping[str, str]:
        """Defaults of ARG."""
        values: dict[str, str] = {}
        for instruction in self.instructions:
            if instruction.name == "ARG":
                for name, value in _pairs(instruction.argument):
                    values.setdefault(name, interpolate(value, values))
        return values

    @cached_property
    def bases(self) -> tuple[BaseImage, ...]:
        """What FROM names, without the file's own stages."""
        found: list[BaseImage] = []
        stages: set[str] = set()
        for instruction in self.instructions:
            if instruction.name != "FROM":
                continue
            match = re.match(r"FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", instruction.place.text, re.IGNORECASE)
            if match is None:
                continue
            name = interpolate(match[1], self.arguments)
            if name.lower() not in stages:
                place = instruction.place
                start = place.start + match.start(1)
                found.append(
                    BaseImage(
                        name,
                        Place(self.source, place.line, place.column + match.start(1), start, start + len(match[1])),
                    )
                )
            stages.add((match[2] or "").lower())
        return tuple(found)

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        found: list[Variable] = []
        for instruction in self.instructions:
            if instruction.name != "ENV":
                continue
            argument, base = instruction.argument, instruction.place.start + len(instruction.name)
            old_form = re.match(r"\s+([A-Za-z_]\w*)\s+(\S.*)", argument)
            matches = [old_form] if old_form else list(_PAIR.finditer(argument))
            for match in matches:
                value = match[2].strip().strip("\"'")
                place = self.source.place_at(base + match.start(), base + match.end())
                value_place = self.source.place_at(base + match.start(2), base + match.end(2))
                found.append(Variable(match[1], interpolate(value, self.arguments), place, value_place))
        return tuple(found)

    def find(self, pattern: re.Pattern[str], *names: str) -> list[tuple[Instruction, Place]]:
        """Where a pattern stands in instructions of these names."""
        return [
            (
                instruction,
                self.source.place_at(instruction.place.start + match.start(), instruction.place.start + match.end()),
            )
            for instruction in self.instructions
            if instruction.name in names
            for match in pattern.finditer(instruction.place.text)
        ]


def _last_line(lines: list[str], number: int) -> int:
    """The line on which the instruction that begins here ends: continuation, comments between, here-documents."""
    heredoc = _HEREDOC.search(lines[number - 1])
    if heredoc and re.match(r"\s*(RUN|COPY)\b", lines[number - 1], re.IGNORECASE):
        for later in range(number + 1, len(lines) + 1):
            if lines[later - 1].strip() == heredoc[1]:
                return later
        return number
    while number < len(lines):
        line = lines[number - 1].rstrip()
        if not line.endswith("\\") and not line.lstrip().startswith("#"):
            return number
        if line.lstrip().startswith("#") and not lines[number].strip():
            return number
        number += 1
    return number


def _pairs(argument: str) -> list[tuple[str, str]]:
    return [(match[1], match[2].strip("\"'")) for match in _PAIR.finditer(argument)]
