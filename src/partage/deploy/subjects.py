"""What rules look at besides services and Dockerfiles: variables wherever they are set, images wherever they are named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from partage.deploy.compose_file import Project, Service
from partage.deploy.dockerfile import Dockerfile
from partage.deploy.engines import OLLAMA, ServerKind, server_kind
from partage.deploy.source import Place, Source
from partage.deploy.variables import Variable
from partage.deploy.yaml_tree import Scalar


@dataclass(frozen=True, eq=False)
class Environment:
    """Variables as one program sees them: of a service, of a .env file, of an image."""

    variables: tuple[Variable, ...]
    server: ServerKind | None = None
    """The model server that reads them; None where it is another program, or unknown."""
    service: Service | None = None
    """None: of a .env file or a Dockerfile."""

    @property
    def is_dotenv(self) -> bool:
        return self.service is None and self.server is None


@dataclass(frozen=True, slots=True)
class ImageName:
    text: str
    place: Place


@dataclass(frozen=True, eq=False)
class DotEnv:
    source: Source
    variables: tuple[Variable, ...]


Document: TypeAlias = Project | Dockerfile | DotEnv
Subject: TypeAlias = Project | Service | Dockerfile | Environment | ImageName


def _reader(service: Service) -> ServerKind | None:
    """An override file need not repeat the image; a service that it calls ollama is one."""
    bare = service.name == "ollama" and not {"image", "build"} & service.node.entries.keys()
    return OLLAMA if bare else service.server


def subjects_of(document: Document) -> Iterator[Subject]:
    match document:
        case Project():
            yield document
            for service in document.services.values():
                yield service
                yield Environment(tuple(service.variables.values()), _reader(service), service)
                if isinstance(image := service.get("image"), Scalar):
                    yield ImageName(service.image, image.place)
        case Dockerfile():
            yield document
            base = document.bases[-1].name if document.bases else ""
            if base:  # without FROM it is no Dockerfile
                yield Environment(document.variables, server_kind(base))
            for image in document.bases:
                yield ImageName(image.name, image.place)
        case DotEnv():
            yield Environment(document.variables)
