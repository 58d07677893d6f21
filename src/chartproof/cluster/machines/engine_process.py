"""One played engine as a process of its own: what the image for kind runs where a GPU node runs vLLM or SGLang.

    python -m chartproof.cluster.machines.engine_process vllm serve MODEL --port 8000 ...

The words are the real engine's command. What its image, node and annotations would say comes from the environment:

    CHARTPROOF_IMAGE            the real image, whose tag is the version (default: the newest vLLM's)
    CHARTPROOF_INSTANCE_TYPE    EC2 type whose GPU is played (default: g6e.xlarge)
    CHARTPROOF_MODEL            Hugging Face id of the model (default: the command's own)
    CHARTPROOF_PRECISION        precision of its weights (default: what the command shows)
    CHARTPROOF_SPEED            simulated seconds in a real one (default: 1)

The port opens once the model is loaded, SIGTERM drains as the engine does, and the exit code is the engine's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yarl
from aiohttp import web

from chartproof.catalog import catalog
from chartproof.cluster.machines.gpus import GpuRegistry
from chartproof.cluster.machines.listener import Listener
from chartproof.cluster.machines.programs import PodContext, server_for
from chartproof.cluster.machines.server import EXIT_ERROR, Server
from chartproof.cluster.speed import Speed
from chartproof.engine_options import option_table
from chartproof.errors import ChartproofError, UsageError
from chartproof.pool import INSTANCE_TYPE
from chartproof.release import Document, Release
from chartproof.versions import format_version
from chartproof.workload import MODEL_ANNOTATION, PRECISION_ANNOTATION

#: Where people look for a container's port.
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - a pod's address is not known before it runs
_LOOK_SECONDS = 0.05
_DEFAULT_INSTANCE = "g6e.xlarge"


def pod_of(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The pod that would run this command on a GPU node, as far as an engine can tell."""
    image = environment.get("CHARTPROOF_IMAGE") or f"vllm/vllm-openai:v{format_version(option_table('vllm').newest)}"
    instance = environment.get("CHARTPROOF_INSTANCE_TYPE") or _DEFAULT_INSTANCE
    told = {
        MODEL_ANNOTATION: environment.get("CHARTPROOF_MODEL"),
        PRECISION_ANNOTATION: environment.get("CHARTPROOF_PRECISION"),
    }
    container = {
        "name": "engine",
        "image": image,
        "command": list(words),
        "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": environment.get("HOSTNAME") or "engine",
            "annotations": {name: value for name, value in told.items() if value},
        },
        "spec": {"nodeSelector": {INSTANCE_TYPE: instance}, "containers": [container]},
    }


def engine_of(words: Sequence[str], environment: Mapping[str, str]) -> Server:
    """The engine that a command starts. Raises UsageError for one that starts none, ClusterError for one unknown."""
    instance = environment.get("CHARTPROOF_INSTANCE_TYPE") or _DEFAULT_INSTANCE
    if instance not in catalog().instances:
        raise UsageError(f"{instance} is no instance type of the catalog", where="$CHARTPROOF_INSTANCE_TYPE")
    pod = pod_of(words, environment)
    node = {"metadata": {"name": "kind", "labels": {INSTANCE_TYPE: instance}}}
    speed = _speed(environment.get("CHARTPROOF_SPEED") or "1")
    (container,) = pod["spec"]["containers"]
    release = Release("kind", (Document(pod),))
    context = PodContext(speed, node, release, GpuRegistry(speed))
    server = server_for(pod, container, context)
    if server is None:
        raise UsageError(
            f"`{' '.join(words)}` starts no engine", how="write the engine's own command, e.g. vllm serve MODEL"
        )
    return server


def _speed(text: str) -> Speed:
    try:
        return Speed(float(text))
    except ValueError as error:
        raise UsageError(f"{text!r} is no number", where="$CHARTPROOF_SPEED") from error


async def run(server: Server) -> int:
    """Serve until the engine ends; its exit code."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.terminate)
    listeners: list[Listener] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return await server.handle(request, yarl.URL(f"http://{request.host}{request.path_qs}"))

    server.start()
    try:
        while not server.exit.done():
            if server.listening and not listeners:
                for port in server.ports:
                    listeners.append(Listener(answer))
                    await listeners[-1].start(port, _EVERYWHERE)
            elif listeners and not server.listening:
                break
            await asyncio.wait({server.exit}, timeout=_LOOK_SECONDS)
        return await server.exit
    finally:
        for each in listeners:
            await each.stop()


def main(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Play the engine of a command; the exit code of the process."""

    async def play() -> int:
        return await run(engine_of(words, environment))

    try:
        return asyncio.run(play())
    except ChartproofError as error:
        print(error, file=sys.stderr)
        return EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
