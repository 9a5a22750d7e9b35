"""Rules on images and on how Dockerfiles install NVIDIA's software."""

from __future__ import annotations

import re
from collections.abc import Iterator

from partage.deploy.dockerfile import Dockerfile
from partage.deploy.findings import Flaw, rule
from partage.deploy.source import Place
from partage.deploy.subjects import ImageName
from partage.deploy.variables import UNKNOWN

_CUDA_IMAGE = re.compile(r"(?:^|/)nvidia/cuda(?::(?P<tag>[^@]+))?(?P<digest>@.*)?$")
_CUDA_TAG = re.compile(
    r"(?P<major>\d+)\.(?P<minor>\d+)(?P<patch>\.\d+)?-(?:.+-)?(?:ubuntu|ubi|rockylinux|centos|opensuse|oraclelinux|amzn|cm|azl)[\w.]*$"
)


@rule(
    "PG070",
    "cuda-tag-unknown",
    on=ImageName,
    cure="name version, part and system: nvidia/cuda:12.6.3-base-ubuntu24.04",
    source="NVIDIA CUDA image documentation, Supported tags and Deprecated: latest; tags without a system",
)
def cuda_tag_unknown(image: ImageName) -> Iterator[Flaw]:
    """A tag that nvidia/cuda does not have: the pull fails.

    A tag has three parts of version, the part of CUDA, and the system: `12.6.3-base-ubuntu24.04`. There is no `latest`,
    `12.0-base` lacks patch level and system, `12.1-runtime-ubuntu22.04` the patch level.
    """
    match = _CUDA_IMAGE.search(image.text)
    if match is None or match["digest"] or UNKNOWN in image.text:
        return
    tag = match["tag"]
    if tag is None or tag == "latest":
        yield Flaw(image.place, "nvidia/cuda has no tag `latest`")
        return
    found = _CUDA_TAG.match(tag)
    if found is None and re.match(r"\d+\.\d+", tag):
        yield Flaw(image.place, f"nvidia/cuda has no tag `{tag}`: a tag ends in the system, as in -ubuntu24.04")
    elif found and found["patch"] is None and (int(found["major"]), int(found["minor"])) >= (11, 3):
        yield Flaw(image.place, f"nvidia/cuda has no tag `{tag}`: a version has three parts, as in 12.6.3")


@rule(
    "PG071",
    "retired-nvidia-docker",
    on=Dockerfile,
    cure="install nvidia-container-toolkit on the host, from NVIDIA's libnvidia-container repository; images need neither",
    source="NVIDIA Container Toolkit docs, Installing; NVIDIA/nvidia-docker README (archived)",
)
def retired_nvidia_docker(dockerfile: Dockerfile) -> Iterator[Flaw]:
    """The nvidia-docker repository or package: retired, replaced by nvidia-container-toolkit.

    The project was archived in 2023; its package list is no longer served for current systems. The toolkit belongs on the host.
    """
    pattern = re.compile(r"/nvidia-docker/(?:\S*)|nvidia-docker\.list|\bnvidia-docker2?\b(?=[\s\\]|$)")
    seen: set[int] = set()
    for _, place in dockerfile.find(pattern, "RUN", "ADD"):
        if place.line not in seen:
            seen.add(place.line)
            yield Flaw(place, "nvidia-docker is retired: its repository is no longer maintained")


@rule(
    "PG072",
    "apt-key",
    on=Dockerfile,
    cure="store the key under /usr/share/keyrings and name it with [signed-by=...] in the list",
    source="Debian apt-key manual page (deprecated, last in Debian 12 and Ubuntu 22.04); NVIDIA, Updating the CUDA Linux GPG Repository Key",
)
def apt_key(dockerfile: Dockerfile) -> Iterator[Flaw]:
    """`apt-key` in the image of a GPU service: deprecated, and gone from current Debian and Ubuntu.

    It trusts a key for every repository. In 2022 NVIDIA also replaced the key that many of these lines fetch, so that
    old ones fail with NO_PUBKEY. `apt-key del` alone is how NVIDIA's instructions remove that old key: it is left alone.
    """
    if not re.search(r"nvidia|cuda|ollama|vllm|torch|tensorflow", dockerfile.source.text, re.IGNORECASE):
        return
    reported: set[Place] = set()
    for instruction, place in dockerfile.find(re.compile(r"(?<![\w/-])apt-key(?=\s+(?:add|adv|--))"), "RUN"):
        if instruction.place not in reported:
            reported.add(instruction.place)
            yield Flaw(place, "apt-key is deprecated, and gone from current systems")


RULES = (cuda_tag_unknown, retired_nvidia_docker, apt_key)
