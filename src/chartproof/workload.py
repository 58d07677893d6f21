"""Which containers of a release run a language-model engine, and what they were told.

Recognises vLLM and SGLang by image and by command line, so that rules and plans work on
manifests of any origin, not only on those of our chart.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from chartproof.release import Body, Document, PodTemplate, Release, dig

#: Annotations on a pod template that say what cannot be read from the command line. Our chart sets
#: them; authors of other charts may.
MODEL_ANNOTATION = "chartproof.io/model"
PRECISION_ANNOTATION = "chartproof.io/precision"
WEIGHTS_GIGABYTES_ANNOTATION = "chartproof.io/weights-gigabytes"
ENGINE_VERSION_ANNOTATION = "chartproof.io/engine-version"
IMAGE_GIGABYTES_ANNOTATION = "chartproof.io/image-gigabytes"
#: Operating system of the nodes: `bottlerocket` or `al2023`, where no node class in the release says it.
NODE_FAMILY_ANNOTATION = "chartproof.io/node-family"
#: How weights reach the replica: a key of the catalog's `deliveries`.
DELIVERY_ANNOTATION = "chartproof.io/weights-delivery"

GPU_RESOURCE = "nvidia.com/gpu"

DEFAULT_PORTS: Mapping[str, int] = {"vllm": 8000, "sglang": 30000}

_ENGINE_MARKS = {
    "vllm": re.compile(r"(^|[/\s])vllm(\s+serve)?(\s|$)|vllm\.entrypoints"),
    "sglang": re.compile(r"sglang\.launch_server|(^|[/\s])sglang\s+serve"),
}
_IMAGE_MARKS = {
    "vllm": re.compile(r"(^|/)vllm(-openai|-cpu-release-repo)?([@:]|$)|vllm/vllm-openai"),
    "sglang": re.compile(r"(^|/)sglang([@:]|$)"),
}
_VERSION = re.compile(r"^v?(\d+)\.(\d+)(?:\.(\d+))?")

Version = tuple[int, int, int]


def parse_version(text: str) -> Version | None:
    """Numeric (major, minor, patch) at the start of a tag such as `v0.33.0-cu129`, else None."""
    match = _VERSION.match(text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


@dataclass(frozen=True)
class ImageReference:
    """An image reference, split; `tag` and `digest` are empty where absent."""

    repository: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Split `registry:port/name:tag@digest` without mistaking the port for a tag."""
        name, _, digest = text.partition("@")
        head, _, last = name.rpartition("/")
        last, _, tag = last.partition(":")
        return cls(f"{head}/{last}" if head else last, tag, digest)


@dataclass(frozen=True)
class Option:
    """One option of an engine's command line: `--name value`, or `--name` alone (`value` None).

    `name` has dashes for underscores; `index` is its position among the arguments.
    """

    name: str
    value: str | None
    index: int


@dataclass(frozen=True)
class EngineContainer:
    """A container that runs an engine: where it is and what it was told."""

    document: Document
    pod: PodTemplate
    container: Body
    engine: str

    @cached_property
    def path(self) -> str:
        """Dotted path of the container in its document."""
        return self.pod.container_path(self.container)

    @cached_property
    def image(self) -> ImageReference:
        """The image reference."""
        return ImageReference.parse(str(self.container.get("image") or ""))

    @cached_property
    def version(self) -> Version | None:
        """Engine version from the pod's annotation or the image tag; None where it cannot be known."""
        annotated = self.pod.annotations.get(ENGINE_VERSION_ANNOTATION)
        return parse_version(str(annotated)) if annotated else parse_version(self.image.tag)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Command and arguments as words; a shell's script is split as the shell would."""
        raw = [str(word) for key in ("command", "args") for word in self.container.get(key) or []]
        if self.shell_script is None:
            return tuple(raw)
        script = self.shell_script.replace("\\\n", " ")
        try:
            words = shlex.split(script, comments=True)
        except ValueError:
            words = script.split()
        start = next((i for i, word in enumerate(words) if word.endswith(("vllm", "sglang")) or "python" in word), 0)
        return tuple(words[start:])

    @cached_property
    def shell_script(self) -> str | None:
        """The script, where the container is started as `sh -c SCRIPT`; else None."""
        raw = [str(word) for key in ("command", "args") for word in self.container.get(key) or []]
        shells = {"sh", "bash", "/bin/sh", "/bin/bash", "/usr/bin/bash"}
        if not raw or raw[0] not in shells:
            return None
        for i, word in enumerate(raw[1:], start=1):
            if re.fullmatch(r"-[a-z]*c", word):
                return raw[i + 1] if i + 1 < len(raw) else ""
        return None

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """Options in order; `--a=b` and `--a b` are the same, several values are joined by spaces."""
        found: list[Option] = []
        words = self.words
        i = 0
        while i < len(words):
            word = words[i]
            if not word.startswith("-") or word in ("-", "--") or re.fullmatch(r"-\d.*", word):
                i += 1
                continue
            name, equals, value = word.partition("=")
            if name.startswith("--"):
                head, dot, tail = name.partition(".")
                name = head.replace("_", "-") + dot + tail
            position = i
            values = [value] if equals else []
            i += 1
            while (
                not equals and i < len(words) and (not words[i].startswith("-") or re.fullmatch(r"-\d[\d.]*", words[i]))
            ):
                values.append(words[i])
                i += 1
            found.append(Option(name, " ".join(values) if values else None, position))
        return tuple(found)

    def option(self, *names: str) -> str | None:
        """Value of the last option of these names; "" for one given without value; None if absent."""
        for each in reversed(self.options):
            if each.name in names:
                return each.value if each.value is not None else ""
        return None

    def integer(self, *names: str, default: int) -> int:
        """Value of an integer option; `default` where absent or not a number."""
        text = self.option(*names)
        try:
            return int(text) if text else default
        except ValueError:
            return default

    @cached_property
    def environment(self) -> Mapping[str, Any]:
        """Environment variables: their literal value, or None where it comes from a reference."""
        return {
            str(each.get("name")): each.get("value")
            for each in self.container.get("env") or []
            if isinstance(each, Mapping)
        }

    @cached_property
    def model(self) -> str:
        """The model's path or id as the engine is told (positional, `--model` or `--model-path`)."""
        given = self.option("--model", "--model-path")
        if given:
            return given
        words = list(self.words)
        if "serve" in words:
            after = words[words.index("serve") + 1 :]
            if after and not after[0].startswith("-"):
                return after[0]
        return ""

    @cached_property
    def served_model_name(self) -> str:
        """The value of the `model_name` metric label: the first served name, else the model string."""
        served = self.option("--served-model-name")
        return served.split()[0] if served else self.model

    @cached_property
    def port(self) -> int:
        """The port the HTTP server listens on."""
        return self.integer("--port", default=DEFAULT_PORTS[self.engine])

    @cached_property
    def tensor_parallel_size(self) -> int:
        """Tensor-parallel size, 1 by default."""
        return self.integer("--tensor-parallel-size", "-tp", "--tp-size", "--tp", default=1)

    @cached_property
    def pipeline_parallel_size(self) -> int:
        """Pipeline-parallel size, 1 by default."""
        return self.integer("--pipeline-parallel-size", "-pp", "--pp-size", "--pp", default=1)

    @cached_property
    def gpus(self) -> int:
        """GPUs of the container: its limit, else its request, else 0."""
        return gpu_count(self.container)

    def __str__(self) -> str:
        """Name it as messages do."""
        return f"container {self.container.get('name')!r}"


def gpu_count(container: Body) -> int:
    """`nvidia.com/gpu` of a container: the limit, else the request; 0 where none or unreadable."""
    for side in ("limits", "requests"):
        value = dig(container, "resources", side, GPU_RESOURCE)
        if value is not None:
            try:
                return int(value)
            except (TypeError, ValueError):
                return 0
    return 0


def recognise_engine(container: Body) -> str | None:
    """Name of the engine that a container runs (`vllm` or `sglang`), or None.

    The command line decides; without one the image does (its entrypoint starts the engine). A
    container that runs another program from an engine's image, such as a download script, is not
    an engine.
    """
    words = [str(word) for key in ("command", "args") for word in container.get(key) or []]
    line = " ".join(words)
    for engine, mark in _ENGINE_MARKS.items():
        if mark.search(line):
            return engine
    command: Sequence[Any] = container.get("command") or []
    if not command:
        image = str(container.get("image") or "")
        for engine, mark in _IMAGE_MARKS.items():
            if mark.search(image):
                return engine
    return None


def engine_containers(document: Document) -> Iterator[EngineContainer]:
    """The engine containers of a document's pod templates (Jobs and CronJobs run no servers)."""
    if document.kind in {"Job", "CronJob"}:
        return
    for pod in document.pod_templates:
        for container in pod.containers():
            engine = recognise_engine(container)
            if engine is not None:
                yield EngineContainer(document, pod, container, engine)


def engines_of(release: Release) -> list[EngineContainer]:
    """Every engine container of a release."""
    return [each for document in release.workloads for each in engine_containers(document)]
