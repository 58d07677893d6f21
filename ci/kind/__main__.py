"""The live scenarios on a kind cluster: `make kind-smoke`.

    python -m ci.kind [--keep] [-- PYTEST OPTIONS]

Builds an image with chartproof's played engine in the place of vLLM, makes a kind cluster whose node has GPUs in name,
installs KEDA and kube-prometheus-stack at the versions that the chart asks for, runs tests/kind, and takes everything
down again, whatever happens. Needs Docker and, for the node's image, charts and packages, the network.

Exit codes: those of pytest; 3 where something is missing that only the caller can provide, or fails on the way.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from chartproof import toolchain
from chartproof.errors import ChartproofError, ClusterError, UsageError
from chartproof.signals import undisturbed, unwinding

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
NAME = "llm-inference-smoke"
IMAGE = f"{NAME}:1"
PRESET = HERE / "qwen2.5-7b-kind.yaml"
GPUS = 8
KUBECONFIG_VARIABLE = "CHARTPROOF_KIND_KUBECONFIG"
_PREREQUISITES = ROOT / "charts/llm-inference/templates/_prerequisites.tpl"
_PROGRAMS = ("kind", "kubectl", "helm")


def missing(environment: Mapping[str, str]) -> str:
    """Why no kind cluster can be made here; empty where one can."""
    docker = shutil.which("docker", path=environment.get("PATH", ""))
    if docker is None:
        return "there is no docker on PATH"
    asked = subprocess.run([docker, "info"], env=dict(environment), capture_output=True, text=True, check=False)
    if asked.returncode:
        last = (asked.stderr.strip() or asked.stdout.strip()).splitlines()
        return f"the Docker engine does not answer: {last[-1] if last else 'docker info failed'}"
    return ""


def installations(templates: str) -> list[list[str]]:
    """The words after `helm` that install KEDA and kube-prometheus-stack, as the chart's own notes give them."""
    found = re.findall(r"^helm (upgrade --install (?:keda|monitoring) .*)$", templates, re.MULTILINE)
    if len(found) != 2:  # noqa: PLR2004 - KEDA and kube-prometheus-stack
        raise UsageError("there are not two installations in the chart's notes", where=str(_PREREQUISITES))
    return [line.split() for line in found]


class Kind:
    """A kind cluster and what is done with it. Every command's failure is a ClusterError."""

    def __init__(self, programs: Mapping[str, Path], directory: Path, environment: Mapping[str, str]) -> None:
        self._programs = {name: str(path) for name, path in programs.items()}
        self._directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self.environment = {**environment, "KUBECONFIG": str(self.kubeconfig)}

    def build_image(self) -> None:
        """Gather wheel, lock and scripts in a directory of their own, and build from it."""
        context = self._directory / "image"
        context.mkdir()
        self._run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(context))
        for source in (HERE / "Dockerfile", HERE / "vllm", ROOT / "requirements" / "live.txt"):
            shutil.copy(source, context)
        self._run("docker", "build", "--tag", IMAGE, str(context))

    def create(self) -> None:
        """Make the cluster, and give its node the image and GPUs in name."""
        words = ("--name", NAME, "--kubeconfig", str(self.kubeconfig), "--config", str(HERE / "cluster.yaml"))
        self._run("kind", "create", "cluster", *words, "--wait", "180s")
        self._run("kind", "load", "docker-image", IMAGE, "--name", NAME)
        patch = f'{{"status":{{"capacity":{{"nvidia.com/gpu":"{GPUS}"}}}}}}'
        node = f"{NAME}-control-plane"
        self._run("kubectl", "patch", "node", node, "--subresource", "status", "--type", "merge", "--patch", patch)
        self._run("kubectl", "apply", "--filename", str(HERE / "admission.yaml"))

    def install_prerequisites(self) -> None:
        """KEDA and kube-prometheus-stack."""
        for words in installations(_PREREQUISITES.read_text(encoding="utf-8")):
            self._run("helm", *words)

    def test(self, options: Sequence[str]) -> int:
        """Run tests/kind against it; pytest's exit code."""
        command = [sys.executable, "-m", "pytest", str(ROOT / "tests" / "kind"), "-m", "kind", *options]
        environment = {**self.environment, KUBECONFIG_VARIABLE: str(self.kubeconfig)}
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode

    def delete(self) -> None:
        """Take the cluster down, also one that was only begun."""
        self._run("kind", "delete", "cluster", "--name", NAME, "--kubeconfig", str(self.kubeconfig))

    def _run(self, program: str, *words: str) -> None:
        command = [self._programs.get(program, program), *words]
        print(f"+ {Path(program).name} {' '.join(words)}", file=sys.stderr, flush=True)
        code = subprocess.run(command, cwd=ROOT, env=self.environment, stdout=sys.stderr, check=False).returncode
        if code:
            raise ClusterError(
                f"{Path(program).name} {words[0]} failed with exit code {code}", how="see its last lines above"
            )


@contextmanager
def running(kind: Kind, *, keep: bool) -> Iterator[None]:
    """The cluster for the duration of a block."""
    with unwinding():
        try:
            kind.create()
            yield
        finally:
            if not keep:
                with undisturbed():
                    kind.delete()


def main(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Build, create, install, test, delete; the exit code of the process."""
    parser = argparse.ArgumentParser(prog="python -m ci.kind", description="the live scenarios on a kind cluster")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    parser.add_argument("options", nargs="*", help="further options for pytest, after --")
    arguments = parser.parse_args(words)
    try:
        if why := missing(environment):
            raise ClusterError(why, how="start Docker; https://kind.sigs.k8s.io says more")
        with tempfile.TemporaryDirectory(prefix="chartproof-kind-") as directory:
            kind = Kind(toolchain.ensure(_PROGRAMS), Path(directory), environment)
            kind.build_image()
            with running(kind, keep=arguments.keep):
                kind.install_prerequisites()
                return kind.test(arguments.options)
    except ChartproofError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
