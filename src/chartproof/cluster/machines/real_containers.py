"""Containers that run the real program: LiteLLM in a gateway's pods, vllm-router between prefill and decode replicas.

The process gets the container's arguments and variables. What differs is what a container would hide from it: files
that are mounted are written below the cluster's directory, and their paths are put into arguments and variables; its
ports are free ones of the loopback interface; and everything that it asks goes to the pod network, which is its
HTTP_PROXY: that knows Services and pods, and no way off this machine. One that asks the API server finds it by a
kubeconfig with the token of its pod's ServiceAccount, so that it may what its Role lets it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chartproof.cluster.machines.passage import Passage
from chartproof.cluster.machines.real_program import RealProgram
from chartproof.cluster.ports import LOOPBACK, free_ports
from chartproof.errors import ClusterError
from chartproof.release import Release, dig
from chartproof.workload import ImageReference

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A program, as far as running it elsewhere has to change what it is told.

    `ports` are its options for ports, with their defaults (None: it opens no such port unless told), `hosts` those for
    the addresses that it listens at.
    """

    program: str
    ports: Mapping[str, int | None]
    hosts: tuple[str, ...]
    asks_server: bool = False


#: Source: vllm-router 0.1.17 `vllm_router/router_args.py`.
_ROUTER = Kind(
    "vllm-router",
    {"--port": 30000, "--prometheus-port": None},
    ("--host", "--prometheus-host"),
    asks_server=True,
)
#: Source of the other: LiteLLM `litellm/proxy/proxy_cli.py`.
_KINDS = (Kind("litellm", {"--port": 4000}, ("--host",)), _ROUTER)


def kind_of(container: Body) -> Kind | None:
    """Which real program a container runs, by its image, of which there are variants; None for any other."""
    name = ImageReference.parse(str(container.get("image") or "")).repository.rpartition("/")[2]
    return next((each for each in _KINDS if f"{name}-".startswith(f"{each.program}-")), None)


def is_router(container: Body) -> bool:
    """Whether a container passes requests on to prefill and decode replicas."""
    kind = kind_of(container)
    return kind is not None and kind.program == _ROUTER.program


def router_port(container: Body) -> int:
    """The port on which a router takes requests."""
    return _told(_words(container), _ROUTER)[0]["--port"]


@dataclass(frozen=True, slots=True)
class Given:
    """What a container gets from the API server.

    `variables` are the values of variables from Secrets and ConfigMaps, `token` is that of the pod's ServiceAccount.
    """

    release: Release
    variables: Mapping[str, str]
    token: str = ""


class RealContainers:
    """Makes the programs of such containers for the cluster in `directory`."""

    def __init__(self, directory: Path, network_port: int, passage: Passage) -> None:
        self._directory = directory
        self._network = f"http://{LOOPBACK}:{network_port}"
        self._passage = passage

    def program(self, pod: Body, container: Body, kind: Kind, given: Given) -> RealProgram:
        """The program of a container.

        Raises ClusterError where something is missing that the container cannot be made without.
        """
        program = self._directory / "bin" / kind.program
        if not program.exists():
            raise ClusterError(
                f"{kind.program} is not there", where=str(program), how=f"chartproof toolchain build {kind.program}"
            )
        name = str(dig(pod, "metadata", "name"))
        place = self._directory / "pods" / f"{dig(pod, 'metadata', 'namespace')}_{name}"
        mounts = _mounted(pod, container, given.release, place)
        variables = _variables(container, given.variables)
        words = _moved([_expanded(each, variables) for each in _words(container)], mounts)
        ports, words = _on_free_ports(words, kind)
        return RealProgram(
            (str(program), *words),
            {
                "PATH": os.defpath,
                **dict(zip(variables, _moved(list(variables.values()), mounts), strict=True)),
                **dict.fromkeys(("http_proxy", "HTTP_PROXY"), self._network),
                **(self._access(place, given.token) if kind.asks_server else self._no_way_off()),
            },
            ports,
            self._directory / "logs" / f"pod-{name}.log",
            self._passage,
        )

    def _no_way_off(self) -> Mapping[str, str]:
        """Variables that bring TLS to the pod network too, which refuses it."""
        return dict.fromkeys(("https_proxy", "HTTPS_PROXY"), self._network)

    def _access(self, place: Path, token: str) -> Mapping[str, str]:
        """Variables with which a program finds the API server; a client without support for proxies must see none."""
        administrator = yaml.safe_load((self._directory / "kubeconfig.yaml").read_text(encoding="utf-8"))
        body = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": administrator["clusters"][:1],
            "users": [{"name": "pod", "user": {"token": token}}],
            "contexts": [{"name": "pod", "context": {"cluster": administrator["clusters"][0]["name"], "user": "pod"}}],
            "current-context": "pod",
        }
        file = place / "kubeconfig.yaml"
        place.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(body), encoding="utf-8")
        return {"KUBECONFIG": str(file)}


def _variables(container: Body, references: Mapping[str, str]) -> dict[str, str]:
    """The container's environment. Raises ClusterError for a reference that leads nowhere."""
    found: dict[str, str] = {}
    for each in container.get("env") or ():
        name, source = str(each["name"]), each.get("valueFrom")
        if source is None:
            found[name] = _expanded(str(each.get("value") or ""), found)
        elif name in references:
            found[name] = references[name]
        elif not any(dig(source, kind, "optional") for kind in source):
            kind, reference = next(iter(source.items()))
            raise ClusterError(
                f"{kind} {reference.get('name', '')!r} with the key {reference.get('key', '')!r} is not there",
                where=f"container {container.get('name')!r}, variable {name}",
            )
    return found


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` as a kubelet replaces it."""
    for name, value in variables.items():
        text = text.replace(f"$({name})", value)
    return text


def _mounted(pod: Body, container: Body, release: Release, place: Path) -> dict[str, Path]:
    """Write the container's volumes below a directory; by their mount paths. Raises ClusterError."""
    shutil.rmtree(place, ignore_errors=True)
    volumes = {each["name"]: each for each in dig(pod, "spec", "volumes", default=())}
    found = {}
    for mount in container.get("volumeMounts") or ():
        path = str(mount["mountPath"]).rstrip("/")
        directory = found[path] = place / path.lstrip("/")
        directory.mkdir(parents=True)
        source = dig(volumes, mount["name"], "configMap", "name")
        if source is None:
            continue
        document = release.find("ConfigMap", source)
        if document is None:
            raise ClusterError(
                f"the ConfigMap {source!r} is not there",
                where=f"container {container.get('name')!r}, {path}",
                how="create it",
            )
        for name, text in document.get("data", default={}).items():
            (directory / name).write_text(str(text), encoding="utf-8")
    return found


def _moved(words: Sequence[str], mounts: Mapping[str, Path]) -> list[str]:
    """Words with the paths of mounts replaced by where their files are."""
    return [_place_of(each, mounts.items()) for each in words]


def _place_of(word: str, mounts: Iterable[tuple[str, Path]]) -> str:
    for path, directory in mounts:
        if word == path or word.startswith(f"{path}/"):
            return f"{directory}{word.removeprefix(path)}"
    return word


def _words(container: Body) -> list[str]:
    """What the program is told: arguments, and what its command has behind the program."""
    return [str(each) for each in (*(container.get("command") or [])[1:], *(container.get("args") or []))]


def _told(words: Sequence[str], kind: Kind) -> tuple[dict[str, int], list[str]]:
    """The program's ports by their options, and its words without those and without the hosts."""
    given, result = {option: port for option, port in kind.ports.items() if port is not None}, list[str]()
    rest = iter(words)
    for each in rest:
        name, joined, value = each.partition("=")
        if name in kind.ports:
            given[name] = int(value if joined else next(rest, 0))
        elif name in kind.hosts:
            value or next(rest, "")
        else:
            result.append(each)
    return given, result


def _on_free_ports(words: Sequence[str], kind: Kind) -> tuple[dict[int, int], list[str]]:
    """Ports of this machine by the container's, and its arguments with those, listening where nobody else can reach."""
    given, result = _told(words, kind)
    ports = dict(zip(given.values(), free_ports(len(given)), strict=True))
    for option, port in given.items():
        result += [option, str(ports[port])]
    for option in kind.hosts:
        result += [option, LOOPBACK]
    return ports, result
