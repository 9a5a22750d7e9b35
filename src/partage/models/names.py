"""Model names: "llama3.2" means "llama3.2:latest"; "host/namespace/model:tag" in full.

A name becomes a path in the store, so what could leave it is refused here and nowhere else.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from partage.errors import InvalidRequest

DEFAULT_TAG = "latest"
DEFAULT_NAMESPACE = "library"
_LONGEST = 255

# Every part starts with a letter or digit: "..", ".hidden" and "-option" cannot be written. \Z, because $ lets a
# newline through.
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}\Z")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}(:[0-9]{1,5})?\Z")


@dataclass(frozen=True, slots=True)
class Name:
    """A parsed name. str() gives the canonical form, which leaves out an empty host and the default namespace."""

    model: str
    tag: str = DEFAULT_TAG
    namespace: str = DEFAULT_NAMESPACE
    host: str = ""

    def __str__(self) -> str:
        if self.host:
            return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"
        if self.namespace != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    @property
    def path(self) -> PurePosixPath:
        """Where its manifest lies below the store's models/ folder. No host is "_", which no host can be."""
        return PurePosixPath(self.host or "_", self.namespace, self.model, f"{self.tag}.json")


def parse(text: str) -> Name:
    """Read a name as people write it. Raises InvalidRequest naming what is wrong with it."""
    if not text:
        raise InvalidRequest("the model name is missing")
    if len(text) > _LONGEST:
        raise InvalidRequest(f"the model name is {len(text)} characters long; at most {_LONGEST} are allowed")
    *front, last = text.split("/")
    if len(front) > 2:
        raise InvalidRequest(f"model name {text!r} has more than three parts; write host/namespace/model:tag")
    model, colon, tag = last.partition(":")
    name = Name(
        model=model,
        tag=tag if colon else DEFAULT_TAG,
        namespace=front[-1] if front else DEFAULT_NAMESPACE,
        host=front[0] if len(front) == 2 else "",
    )
    for kind, part, pattern in (
        ("host", front[0] if len(front) == 2 else "none", _HOST),
        ("namespace", name.namespace, _PART),
        ("model", name.model, _PART),
        ("tag", name.tag, _PART),
    ):
        if not pattern.match(part):
            raise InvalidRequest(
                f"model name {text!r}: the {kind} {part!r} must start with a letter or digit, "
                "go on with letters, digits, '.', '_' or '-', and be at most 80 characters long"
            )
    return name


def canonical(text: str) -> str:
    """Give the one form a name is known by: "llama3.2" -> "llama3.2:latest". Raises InvalidRequest."""
    return str(parse(text))


def near(name: str, known: Sequence[str]) -> list[str]:
    """Of the known names at most three that may have been meant: the same model or one spelt alike, under any tag."""
    models = [one.rpartition(":")[0] for one in known]
    wanted = name.rpartition(":")[0] or name
    alike = difflib.get_close_matches(wanted, models, 1, 0.7)
    return [one for one, model in zip(known, models, strict=True) if model in alike][:3]
