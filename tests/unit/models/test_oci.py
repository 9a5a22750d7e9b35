from __future__ import annotations

import msgspec
import pytest

from partage.errors import PullError, Unsupported
from partage.models import oci
from partage.models.store import About

DIGEST = "sha256:" + "ab" * 32


def layer(kind: str, size: int = 10) -> dict[str, object]:
    return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": DIGEST, "size": size}


def manifest(*layers: dict[str, object], **changes: object) -> bytes:
    config = {"mediaType": oci.CONFIG, "digest": DIGEST, "size": 2}
    return msgspec.json.encode({"schemaVersion": 2, "config": config, "layers": layers, **changes})


def test_layers_are_known_by_their_media_types():
    read = oci.read_manifest(manifest(layer("model", 7), layer("projector"), layer("license"), layer("news")), "m")
    parts = oci.parts_of(read, "m")
    assert (parts.weights.size, parts.projector is not None, len(parts.texts)) == (7, True, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        manifest(layer("model", -1)),
        manifest({**layer("model"), "digest": "sha256:../../etc"}),
        manifest({**layer("model"), "digest": DIGEST + "\n"}),
        manifest(*[layer("license")] * 65),
        msgspec.json.encode({"schemaVersion": 2, "manifests": []}),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes):
    with pytest.raises(PullError, match=r"^registry/m: "):
        oci.read_manifest(data, "registry/m")


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ([layer("model"), layer("adapter")], "adapter"),
        ([layer("model"), layer("model")], "split"),
        ([layer("model"), layer("projector"), layer("projector")], "split"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(layers: list[dict[str, object]], problem: str):
    with pytest.raises(Unsupported, match=problem):
        oci.parts_of(oci.read_manifest(manifest(*layers), "m"), "m")


def test_a_text_of_gigabytes_is_refused_before_it_is_fetched():
    with pytest.raises(PullError, match="where a text is expected"):
        oci.parts_of(oci.read_manifest(manifest(layer("model"), layer("system", 1 << 30)), "m"), "m")


def test_a_model_in_another_format_or_elsewhere_is_refused():
    oci.check_config(b'{"model_format": "gguf", "model_family": "llama"}', "m")
    with pytest.raises(Unsupported, match="safetensors"):
        oci.check_config(b'{"model_format": "safetensors"}', "m")
    with pytest.raises(Unsupported, match="maker's servers"):
        oci.check_config(b'{"remote_host": "example.com"}', "m")


def test_what_is_said_of_a_model_survives_the_way_there_and_back():
    about = About(
        source="here",
        licence="MIT",
        template="{{ .Prompt }}",
        system="Be kind.",
        parameters={"stop": ["a"], "seed": 1},
        messages=(("user", "hi"),),
    )
    assert oci.about_of(oci.texts_of(about), source="here") == about
    assert oci.texts_of(About()) == []
