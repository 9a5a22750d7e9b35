"""Rules on the file itself, whatever it says."""

from __future__ import annotations

from collections.abc import Iterator

from partage.deploy.compose_file import Project
from partage.deploy.findings import Flaw, rule
from partage.deploy.yaml_tree import Mapping, Node, Sequence


@rule(
    "PG002",
    "key-written-twice",
    on=Project,
    cure="keep one of them; merge several anchors as `<<: [*one, *other]`",
    source="docker/compose#10407; P2Enjoy/kohya_ss-docker#15; YAML 1.2.2, 3.2.1.1 (the keys of a mapping are unique)",
)
def key_written_twice(project: Project) -> Iterator[Flaw]:
    """A key that stands twice in one mapping: Compose refuses the file.

    "mapping key already defined", since Compose 2.17 also for a second `<<`. Older versions took the last one and said
    nothing, so that a second `deploy` lost the GPU of the first.
    """
    waiting: list[Node] = [project.root]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, Mapping):
            for key in node.repeated:
                yield Flaw(key.place, f"`{key.text}` stands here a second time: Compose refuses the file")
            waiting += [entry.value for entry in node.entries.values()]
        elif isinstance(node, Sequence):
            waiting += node.items


RULES = (key_written_twice,)
