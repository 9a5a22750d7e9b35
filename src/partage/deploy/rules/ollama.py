"""Rules on Ollama's variables and model names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches

from partage.deploy.compose_file import Project, Service
from partage.deploy.dockerfile import Dockerfile
from partage.deploy.engines import OLLAMA
from partage.deploy.findings import Flaw, rule
from partage.deploy.library_names import what_is_wrong_with_tag
from partage.deploy.ollama_variables import (
    CERTAIN_IN_DOTENV,
    INSTEAD,
    OWN_NAMES,
    READ,
    SERVER_ONLY,
    what_there_is_instead,
)
from partage.deploy.source import Place
from partage.deploy.subjects import Environment
from partage.deploy.variables import Variable
from partage.errors import InvalidRequest
from partage.quantities import parse_duration_s


@rule(
    "PG023",
    "ollama-variable-nobody-reads",
    on=Environment,
    cure="remove it and use what the message names",
    source="ollama#5754, ollama#16561 (OLLAMA_MAX_VRAM), ollama#16328 (OLLAMA_NUM_GPU); Ollama envconfig/config.go",
)
def ollama_variable_nobody_reads(environment: Environment) -> Iterator[Flaw]:
    """An `OLLAMA_...` variable that the server does not read.

    OLLAMA_MAX_VRAM was removed; OLLAMA_GPU_MEMORY_FRACTION, OLLAMA_NUM_GPU and OLLAMA_GPU_LAYERS never existed: the number of layers is the option
    `num_gpu` of a request or a Modelfile. `ollama serve --help` lists what is read. Variables that the container's own
    command uses are left alone.
    """
    service = environment.service
    used = service.command_line if service else ""
    for variable in environment.variables:
        name = variable.name
        instead = what_there_is_instead(name)
        if instead is None or name in used or (name not in INSTEAD and service and service.runs_script_of_its_own):
            continue
        certain = name in CERTAIN_IN_DOTENV and (environment.is_dotenv or _runs_ollama_inside(service))
        if environment.server is OLLAMA or certain:
            yield Flaw(variable.place, f"Ollama does not read {name}; {instead}")


def _runs_ollama_inside(service: Service | None) -> bool:
    """Somebody's build of it, or an image with a GPU that is told what only the server reads."""
    if service is None:
        return False
    return service.calls_itself_ollama or (service.has_gpu and not SERVER_ONLY.isdisjoint(service.variables))


OF_NVIDIA = ("CUDA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_VISIBLE_DEVICES")


@rule(
    "PG027",
    "misspelt-variable",
    on=Environment,
    cure="write it as the message does",
    source="Ollama envconfig/config.go; NVIDIA Container Toolkit docs, Docker specialized configurations",
)
def misspelt_variable(environment: Environment) -> Iterator[Flaw]:
    """A variable whose name differs in a letter or two from one that is read.

    Nobody complains about a name that nobody knows: OLLAMA_KEEP_LIVE leaves models for the default 5 minutes,
    NVIDIA_VISIBLE_DEVICE gives no GPU. Looked for in services and Dockerfiles; a `.env` file may name its own.
    """
    if environment.is_dotenv:
        return
    names = (*OF_NVIDIA, *READ) if environment.server is OLLAMA else OF_NVIDIA
    used = environment.service.command_line if environment.service else ""
    for variable in environment.variables:
        name = variable.name
        if not name.startswith(("OLLAMA_", "NVIDIA_", "CUDA_")) or name in names or name in used or name in OWN_NAMES:
            continue
        meant = get_close_matches(name, names, n=1, cutoff=0.93)
        if meant and what_there_is_instead(name) is None:
            yield Flaw(variable.place, f"nothing reads {name}; {meant[0]} is meant")


_SOONER = re.compile(
    r"\b(?:unload|free|releas|evict|clear|drop|reclaim)\w*\b.*\b(?:sooner|faster|quick\w*|earl\w+|immediate\w*|aggressive\w*|"
    r"right away|at once)\b|\b(?:sooner|faster|quick\w*|earl\w+|immediate\w*|aggressive\w*)\b.*\b(?:unload|free|releas|evict)\w*"
    r"|\b(?:save|reduce|lower|less|free up|minimi[sz]e)\b.{0,20}\b(?:vram|gpu memory|memory)\b",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\b(?:not|never|without|avoid|prevent|no|instead of|keep\w*)\b|n't\b", re.IGNORECASE)
DEFAULT_KEEP_ALIVE_S = 300.0


@rule(
    "PG024",
    "keep-alive-raised-to-unload-sooner",
    on=Environment,
    cure="lower it (0 unloads at once); 5m is the default, -1 means for ever",
    source="Ollama docs, FAQ: How do I keep a model loaded in memory; ollama#5272",
)
def keep_alive_raised_to_unload_sooner(environment: Environment) -> Iterator[Flaw]:
    """OLLAMA_KEEP_ALIVE above its default of 5 minutes, with a comment that says it frees memory sooner.

    It is the time that a model stays after its last request. A larger value keeps it longer; a negative one keeps it
    for ever; 0 unloads it at once.
    """
    for variable in environment.variables:
        if variable.name != "OLLAMA_KEEP_ALIVE" or (seconds := _keep_alive_s(variable.value)) is None:
            continue
        comment = variable.place.comment
        if (seconds < 0 or seconds > DEFAULT_KEEP_ALIVE_S) and _SOONER.search(comment) and not _NEGATED.search(comment):
            yield Flaw(variable.place, f"OLLAMA_KEEP_ALIVE={variable.value} keeps models longer than the default 5m")


@rule(
    "PG025",
    "keep-alive-overruled-by-client",
    on=Project,
    cure="set it in one place; a hub can clamp what clients ask for",
    source="Ollama docs, FAQ; perplexideez#14; rcourtman/Pulse#1481",
    level="warning",
)
def keep_alive_overruled_by_client(project: Project) -> Iterator[Flaw]:
    """The server's OLLAMA_KEEP_ALIVE, and a client in the same file that sends another keep_alive: the request wins.

    Every request may carry a keep_alive, and many clients always send one. The server's variable is for requests that
    say nothing.
    """
    servers = [service for service in project.services.values() if service.server is OLLAMA]
    kept = [service.variables["OLLAMA_KEEP_ALIVE"] for service in servers if "OLLAMA_KEEP_ALIVE" in service.variables]
    if not kept or (wanted := _keep_alive_s(kept[0].value)) is None:
        return
    for service in project.services.values():
        for name, variable in service.variables.items():
            if service.server is OLLAMA or not re.fullmatch(r"(?:OLLAMA_|LLM_|MODEL_)?KEEP_ALIVE", name):
                continue
            asked = _keep_alive_s(variable.value)
            if asked is not None and asked != wanted:
                message = (
                    f"this client asks for {variable.value}, the server is set to {kept[0].value}: the request wins"
                )
                yield Flaw(variable.place, message)


def _keep_alive_s(text: str) -> float | None:
    """As Ollama reads the variable: a duration, or a bare number of seconds."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return parse_duration_s(text)
    except InvalidRequest:
        return None


_PATH = re.compile(r"[/~.$\\]|[A-Za-z]:[/\\]")


@rule(
    "PG026",
    "models-is-a-directory",
    on=Environment,
    cure="give the list another name, and pull each of them with `ollama pull`",
    source="Ollama docs, FAQ: Where are models stored; Ollama envconfig/config.go (Models)",
    level="warning",
)
def models_is_a_directory(environment: Environment) -> Iterator[Flaw]:
    """OLLAMA_MODELS with names of models: it is the directory where the server keeps them.

    The server pulls nothing by itself. A script may read the list, but the server beside it makes a directory of that
    name and stores the models there, not on the volume at /root/.ollama: they are gone with the container.
    """
    service = environment.service
    if environment.server is not OLLAMA or (service is not None and service.only_fetches):
        return
    for variable in environment.variables:
        value = variable.value.strip("\"'")
        listed = variable.known and re.search(r"[:,\s]", value) and not _PATH.match(value)
        if variable.name == "OLLAMA_MODELS" and listed:
            yield Flaw(variable.place, "OLLAMA_MODELS is the directory of the models, not a list of them")


_MODEL_VARIABLE = re.compile(r"(?:^|_)(?:MODELS?|LLM|EMBEDDINGS?)(?:_(?:NAME|ID|TAG|LIST|DEFAULT|PULL))*$")
_MODEL_WORD = re.compile(r"(?<![\w./-])([a-z][\w.-]*):([\w.-]+)")
_COMMAND = re.compile(
    r"\bollama\s+(?:pull|run|show)\s+[\"']?(?P<shell>[\w.:/-]+)"
    r"|/api/pull\b.{0,200}?[\"'](?:name|model)\\*[\"']\s*:\s*\\*[\"'](?P<request>[\w.:/-]+)",
    re.DOTALL,
)
_OWN_COMMAND = re.compile(r"^(?:pull|run)\s+([\w.:/-]+)")


@rule(
    "PG042",
    "model-tag-unknown",
    on=Environment,
    cure="use a tag of the Ollama library: a size (3b), or size-variant-quantisation (3b-instruct-q4_K_M)",
    source="Ollama library, tags of each model; Ollama docs, Modelfile and import: quantisation names",
)
def model_tag_unknown(environment: Environment) -> Iterator[Flaw]:
    """A model tag that the Ollama library does not have: the pull fails.

    Tags name a size and, if need be, variant and quantisation: `llama3.2:3b`, `llama3.2:3b-instruct-q4_K_M`. There is
    no `:4bit`, no `:int8`, no `:gptq`; and a size must be one that was published (llama3.2 has 1b and 3b).
    """
    for variable in environment.variables:
        if _MODEL_VARIABLE.search(variable.name) and variable.known:
            yield from _checked(variable)
    service = environment.service
    if service is None:
        return
    for word in service.words:
        for command in _COMMAND.finditer(service.text(word)):
            yield from _pulled(command["shell"] or command["request"], word.place)
    if environment.server is OLLAMA and service.words and (command := _OWN_COMMAND.match(service.command_line)):
        yield from _pulled(command[1], service.words[-1].place)  # the image's entrypoint is `ollama`


@rule(
    "PG043",
    "image-pulls-unknown-tag",
    on=Dockerfile,
    cure="use a tag of the Ollama library: a size (3b), or size-variant-quantisation (3b-instruct-q4_K_M)",
    source="Ollama library, tags of each model",
)
def image_pulls_unknown_tag(dockerfile: Dockerfile) -> Iterator[Flaw]:
    """`ollama pull` of a tag that the library does not have, in a Dockerfile: the build or the start fails."""
    for _, place in dockerfile.find(_COMMAND, "RUN", "CMD", "ENTRYPOINT"):
        command = _COMMAND.match(place.text)
        if command:
            yield from _pulled(command["shell"] or command["request"], place)


def _pulled(model: str, place: Place) -> Iterator[Flaw]:
    name, _, tag = model.partition(":")
    if wrong := what_is_wrong_with_tag(name, tag):
        yield Flaw(place, f"{model}: {wrong}")


def _checked(variable: Variable) -> Iterator[Flaw]:
    for name, tag in _MODEL_WORD.findall(variable.value):
        if wrong := what_is_wrong_with_tag(name, tag):
            place: Place = variable.value_place
            yield Flaw(place, f"{name}:{tag}: {wrong}")


RULES = (
    ollama_variable_nobody_reads, misspelt_variable, keep_alive_raised_to_unload_sooner, keep_alive_overruled_by_client, models_is_a_directory,
    model_tag_unknown, image_pulls_unknown_tag,
)  # fmt: skip
