"""The gateway's container runs the real LiteLLM: its configuration, keys and ports are those of the pod.

The process gets the container's arguments and variables. What differs is what a container would hide from it: files
that are mounted are written below the cluster's directory, and their paths are put into arguments and variables; its
port is a free one of the loopback interface; and everything that it asks goes to the pod network, which is its
HTTP_PROXY: that knows Services and pods, and no way off this machine.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chartproof.cluster.machines.passage import Passage
from chartproof.cluster.machines.real_program import RealProgram
from chartproof.cluster.ports import LOOPBACK, free_ports
from chartproof.errors import ClusterError
from chartproof.release import Release, dig
from chartproof.workload import ImageReference

Body = Mapping[str, Any]

PROGRAM = "litellm"
_DEFAULT_PORT = 4000


def is_gateway(container: Body) -> bool:
    """Whether a container runs LiteLLM's proxy."""
    name = ImageReference.parse(str(container.get("image") or "")).repository.rpartition("/")[2]
    return name == PROGRAM or name.startswith(f"{PROGRAM}-")


class Gateways:
    """Makes the programs of gateway containers for the cluster in `directory`."""

    def __init__(self, directory: Path, network_port: int, passage: Passage) -> None:
        self._directory = directory
        self._network = f"http://{LOOPBACK}:{network_port}"
        self._passage = passage

    def program(self, pod: Body, container: Body, release: Release, references: Mapping[str, str]) -> RealProgram:
        """The program of a container. `references` are values of variables from Secrets and ConfigMaps.

        Raises ClusterError where something is missing that the container cannot be made without.
        """
        name = str(dig(pod, "metadata", "name"))
        place = self._directory / "pods" / f"{dig(pod, 'metadata', 'namespace')}_{name}"
        mounts = _mounted(pod, container, release, place)
        variables = _variables(container, references)
        told = [*(container.get("command") or [])[1:], *(container.get("args") or [])]
        words = _moved([_expanded(str(each), variables) for each in told], mounts)
        (port,) = free_ports(1)
        given, words = _on_port(words, port)
        return RealProgram(
            (str(self._directory / "bin" / PROGRAM), *words, "--host", LOOPBACK),
            {
                "PATH": os.defpath,
                **dict(zip(variables, _moved(list(variables.values()), mounts), strict=True)),
                **{name: self._network for each in ("http_proxy", "https_proxy") for name in (each, each.upper())},
            },
            {given: port},
            self._directory / "logs" / f"pod-{name}.log",
            self._passage,
        )


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


def _on_port(words: Sequence[str], port: int) -> tuple[int, list[str]]:
    """The container's port, and its arguments with another one."""
    given, result = _DEFAULT_PORT, list[str]()
    rest = iter(words)
    for each in rest:
        name, joined, value = each.partition("=")
        if name == "--port":
            given = int(value if joined else next(rest, _DEFAULT_PORT))
        elif name == "--host":
            # It listens where nobody else can reach it.
            value or next(rest, "")
        else:
            result.append(each)
    return given, [*result, "--port", str(port)]
