"""Which containers of a release run a language-model engine, and what they were told.

Recognises vLLM and SGLang by image and by command line, so that rules and plans work on
manifests of any origin, not only on those of our chart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from chartproof.command_line import (
    Option,
    SimpleCommand,
    expand_references,
    expand_variables,
    parse_options,
    shell_of,
    split_script,
)
from chartproof.engine_options import option_table
from chartproof.release import Body, Document, PodTemplate, Release, dig, once_per_release
from chartproof.versions import Version, parse_version

__all__ = [
    "EngineContainer",
    "ImageReference",
    "Option",
    "Version",
    "engine_containers",
    "engines_of",
    "gpu_count",
    "parse_version",
    "recognise_engine",
]

#: Annotations on a pod template that say what cannot be read from the command line. Our chart sets
#: them; authors of other charts may.
MODEL_ANNOTATION = "chartproof.io/model"
PRECISION_ANNOTATION = "chartproof.io/precision"
WEIGHTS_GIGABYTES_ANNOTATION = "chartproof.io/weights-gigabytes"
ENGINE_VERSION_ANNOTATION = "chartproof.io/engine-version"
IMAGE_GIGABYTES_ANNOTATION = "chartproof.io/image-gigabytes"
#: Seconds that the engine needs apart from reading weights, where it is not what the catalog plans for every model.
ENGINE_START_ANNOTATION = "chartproof.io/engine-start-seconds"
#: Operating system of the nodes: `bottlerocket` or `al2023`, where no node class in the release says it.
NODE_FAMILY_ANNOTATION = "chartproof.io/node-family"
#: How weights reach the replica: a key of the catalog's `deliveries`.
DELIVERY_ANNOTATION = "chartproof.io/weights-delivery"

GPU_RESOURCE = "nvidia.com/gpu"
#: Resources of slices of a GPU, by MIG profile.
MIG_PREFIX = "nvidia.com/mig-"

DEFAULT_PORTS: Mapping[str, int] = {"vllm": 8000, "sglang": 30000}

#: Resources of accelerators other than NVIDIA's whole GPUs that an engine may run on.
OTHER_ACCELERATORS = (
    "amd.com/",
    "google.com/tpu",
    "aws.amazon.com/neuron",
    "habana.ai/",
    "gpu.intel.com/",
    "huawei.com/",
    MIG_PREFIX,
    "nvidia.com/gpu.shared",
)

_PROGRAMS = {"vllm": "vllm", "sglang": "sglang"}
_MODULES = {
    "vllm": re.compile(r"vllm\.entrypoints\.(\w+\.)*api_server"),
    "sglang": re.compile(r"sglang\.launch_server"),
}
_SCRIPTS = re.compile(r"vllm/entrypoints/(\w+/)*api_server\.py$")
_IMAGE_MARKS = {
    "vllm": re.compile(r"(^|/)vllm(-openai|-openai-rocm|-cpu-release-repo)?([@:]|$)"),
    "sglang": re.compile(r"(^|/)sglang([@:]|$)"),
}
_CPU_IMAGE = re.compile(r"vllm[-/]cpu|(^|[-/:])cpu([-/:@.]|$)")
#: Repositories that number their images after themselves, not after the engine inside.
_OTHER_NUMBERING = re.compile(r"(^|/)(lmcache|aibrix|llm-d|kserve|nvidia|ai-dynamo)/")
_LEADER_WORKER_SIZE = "LWS_GROUP_SIZE"
#: Shells' control words and wrappers that may stand before the engine in its own command.
_EXEC = "exec"


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


@dataclass(frozen=True, slots=True)
class Launch:
    """How the engine is started.

    `words` are the engine's own command (program and arguments), `arguments` those after the program.
    Where a shell starts it, `shell` names that shell, `script` is its script, `commands` are the
    script's simple commands and `position` says which of them is the engine.
    """

    words: tuple[str, ...]
    arguments: tuple[str, ...]
    shell: str = ""
    script: str = ""
    commands: tuple[SimpleCommand, ...] = ()
    position: int = 0

    @property
    def replaces_shell(self) -> bool:
        """Whether the engine becomes the container's process: started directly, or by `exec`."""
        return not self.shell or _EXEC in self.commands[self.position].words


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
    def official_image(self) -> bool:
        """Whether the image is the engine project's own (also through a mirror), with its users and contents."""
        last = self.image.repository.rpartition("/")[2]
        return last in {"vllm-openai", "sglang"} and not _OTHER_NUMBERING.search(self.image.repository)

    @cached_property
    def version(self) -> Version | None:
        """Engine version from the pod's annotation or the image tag; None where it cannot be known."""
        annotated = self.pod.annotations.get(ENGINE_VERSION_ANNOTATION)
        if annotated:
            return parse_version(str(annotated))
        if _OTHER_NUMBERING.search(self.image.repository) or recognise_image(self.container) != self.engine:
            return None
        return parse_version(self.image.tag)

    @cached_property
    def launch(self) -> Launch:
        """How the engine is started."""
        return _launch(self.container, self.literals) or Launch((), ())

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Command and arguments as words; of a shell's script, only the engine's own command."""
        return self.launch.words

    @property
    def shell_script(self) -> str | None:
        """The script, where the container is started as `sh -c SCRIPT`; else None."""
        return self.launch.script if self.launch.shell else None

    @cached_property
    def _parsed(self) -> tuple[tuple[Option, ...], tuple[str, ...]]:
        options, positional = parse_options(self.launch.arguments, option_table(self.engine).arity)
        offset = len(self.launch.words) - len(self.launch.arguments)
        shifted = (Option(each.name, each.value, each.index + offset, each.joined) for each in options)
        return tuple(shifted), tuple(positional)

    @property
    def options(self) -> tuple[Option, ...]:
        """Options in order; `--a=b` and `--a b` are the same, several values are joined by spaces."""
        return self._parsed[0]

    @property
    def positional(self) -> tuple[str, ...]:
        """Arguments that belong to no option."""
        return self._parsed[1]

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
    def literals(self) -> Mapping[str, str | None]:
        """What `$(NAME)` stands for: the environment, and the group's size in a LeaderWorkerSet."""
        known = {name: None if value is None else str(value) for name, value in self.environment.items()}
        if self.document.kind == "LeaderWorkerSet":
            known.setdefault(_LEADER_WORKER_SIZE, str(self.group_size))
        return known

    @cached_property
    def model(self) -> str:
        """The model's path or id as the engine is told (positional, `--model` or `--model-path`)."""
        given = self.option("--model", "--model-path")
        return given or (self.positional[0] if self.positional else "")

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

    @cached_property
    def group_size(self) -> int:
        """Pods that work as one replica: the size of a LeaderWorkerSet's group, else 1."""
        size = self.document.get("spec", "leaderWorkerTemplate", "size", default=1)
        return size if self.document.kind == "LeaderWorkerSet" and isinstance(size, int) else 1

    @cached_property
    def pods_per_replica(self) -> int:
        """Pods that the engine's ranks are spread over: what `--nnodes` says, else the size of its group."""
        return max(1, self.integer("--nnodes", "-n", default=self.group_size))

    @cached_property
    def headless(self) -> bool:
        """Whether it is told to serve no HTTP at all (`--headless`)."""
        return self.option("--headless") is not None

    @cached_property
    def is_worker(self) -> bool:
        """Whether it only computes for a leader in another pod, so that no client ever talks to it."""
        has_leader = self.document.get("spec", "leaderWorkerTemplate", "leaderTemplate") is not None
        in_worker_template = has_leader and "workerTemplate" in self.pod.path
        return self.headless or in_worker_template or self.integer("--node-rank", "-r", default=0) > 0

    @cached_property
    def uses_nvidia_gpus(self) -> bool:
        """Whether it is meant for whole NVIDIA GPUs, not for CPUs or another accelerator."""
        resources = {
            str(key) for side in ("limits", "requests") for key in dig(self.container, "resources", side, default={})
        }
        if any(key.startswith(OTHER_ACCELERATORS) for key in resources):
            return False
        if dig(self.container, "resources", "claims"):
            return False
        if self.option("--device") in {"cpu", "xpu", "tpu", "hpu"} or self.environment.get("VLLM_TARGET_DEVICE"):
            return False
        image = f"{self.image.repository}:{self.image.tag}".lower()
        return not _CPU_IMAGE.search(image) and not re.search(r"rocm|xpu|hpu|gaudi|tpu|neuron|npu|ascend", image)

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


def mig_profile(container: Body) -> str:
    """Profile of the MIG slice that a container asks for (`nvidia.com/mig-1g.10gb`), empty where none."""
    for side in ("limits", "requests"):
        for name in dig(container, "resources", side, default={}):
            if str(name).startswith(MIG_PREFIX):
                return str(name).removeprefix(MIG_PREFIX)
    return ""


def recognise_image(container: Body) -> str | None:
    """Name of the engine that the container's image is made for, or None."""
    image = str(container.get("image") or "")
    for engine, mark in _IMAGE_MARKS.items():
        if mark.search(image):
            return engine
    return None


def recognise_engine(container: Body) -> str | None:
    """Name of the engine that a container runs (`vllm` or `sglang`), or None.

    The command line decides; without one the image does (its entrypoint starts the engine). A
    container that runs another program from an engine's image, such as a download script, is not
    an engine.
    """
    started = _find_engine(_raw_words(container, {}))
    if started is not None:
        return started[0]
    shell = shell_of(_raw_words(container, {}))
    if shell is not None:
        for command in split_script(_raw_words(container, {})[shell[1]]):
            found = _find_engine(command.words)
            if found is not None:
                return found[0]
        return None
    return None if container.get("command") else recognise_image(container)


def engine_containers(document: Document) -> Iterator[EngineContainer]:
    """The engine containers of a document's pod templates (Jobs and CronJobs run no servers)."""
    if document.kind in {"Job", "CronJob"}:
        return
    for pod in document.pod_templates:
        for container in pod.containers():
            engine = recognise_engine(container)
            if engine is not None:
                yield EngineContainer(document, pod, container, engine)


@once_per_release
def engines_of(release: Release) -> list[EngineContainer]:
    """Every engine container of a release."""
    return [each for document in release.workloads for each in engine_containers(document)]


def _raw_words(container: Body, literals: Mapping[str, str | None]) -> list[str]:
    """Command and arguments with Kubernetes' own references replaced."""
    found: list[str] = []
    for key in ("command", "args"):
        words = container.get(key)
        found += [str(word) for word in words] if isinstance(words, Sequence) and not isinstance(words, str) else []
    return [expand_references(word, literals) for word in found]


def _find_engine(words: Sequence[str]) -> tuple[str, int, int] | None:
    """Engine, index of its first word, and index of its first argument, in one command's words."""
    for i, word in enumerate(words):
        following = words[i + 1] if i + 1 < len(words) else ""
        for engine, program in _PROGRAMS.items():
            if word.rpartition("/")[2] == program and following == "serve":
                return engine, i, i + 2
        if word == "-m":
            for engine, module in _MODULES.items():
                if module.fullmatch(following):
                    return engine, max(0, i - 1), i + 2
        if _SCRIPTS.search(word):
            return "vllm", max(0, i - 1), i + 1
    return None


def _launch(container: Body, literals: Mapping[str, str | None]) -> Launch | None:
    """How a container starts its engine; None where no engine is found on its command line."""
    words = _raw_words(container, literals)
    started = _find_engine(words)
    if started is not None:
        _, first, arguments = started
        return Launch(tuple(words[first:]), tuple(words[arguments:]))
    shell = shell_of(words)
    if shell is None:
        return Launch(tuple(words), tuple(words)) if not container.get("command") else None
    name, index = shell
    commands = tuple(split_script(words[index]))
    for position, command in enumerate(commands):
        started = _find_engine(command.words)
        if started is not None:
            expanded = _with_parameters(command.words, words[index + 1 :])
            _, first, arguments = _find_engine(expanded) or started
            expanded = [expand_variables(word, literals) for word in expanded]
            return Launch(tuple(expanded[first:]), tuple(expanded[arguments:]), name, words[index], commands, position)
    return None


def _with_parameters(words: Sequence[str], parameters: Sequence[str]) -> list[str]:
    """A script's words with `$@` and `$0`, `$1`, ... replaced by the words that follow `sh -c SCRIPT`."""
    found: list[str] = []
    for word in words:
        if word in {"$@", "$*", "${@}", "${*}"}:
            found += parameters[1:]
        elif len(word) == len("$0") and word[0] == "$" and word[1].isdigit() and int(word[1]) < len(parameters):
            found.append(parameters[int(word[1])])
        else:
            found.append(word)
    return found
