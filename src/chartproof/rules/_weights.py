"""How weights reach an engine, as manifests show it: hub, bucket, volume, and the scripts that download."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from chartproof.catalog import catalog
from chartproof.plan import plan_workload
from chartproof.release import Body, Document, PodTemplate, Release, dig
from chartproof.rules._pods import Mount, mount_of, mounts
from chartproof.rules._selection import together
from chartproof.workload import EngineContainer

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
#: Schemes of object storage that engines and download tools read from.
BUCKET = re.compile(r"\b(s3|gs|az)://[^\s\"';|&)]+")
_HUB_IN_SCRIPT = re.compile(
    r"(?:\bhf://(?P<scheme>[\w.-]+/[\w.-]+)"
    r"|(?:huggingface-cli|\bhf)\s+download\s+(?:--?[\w-]+(?:[= ]\S+)?\s+)*?(?P<cli>[\w.-]+/[\w.-]+)"
    r"|snapshot_download\(\s*(?:repo_id\s*=\s*)?[\"'](?P<call>[\w.-]+/[\w.-]+)[\"'])"
)
#: Commands that download, as scripts call them.
TOOLS = {
    "aws s3 sync": re.compile(r"\baws\s+(?:--\S+\s+)*s3\s+sync\b"),
    "aws s3 cp": re.compile(r"\baws\s+(?:--\S+\s+)*s3\s+cp\b"),
    "s5cmd": re.compile(r"\bs5cmd\b"),
    "rclone": re.compile(r"\brclone\s+(?:copy|sync)\b"),
    "gsutil": re.compile(r"\bgsutil\b|\bgcloud\s+storage\b"),
    "curl": re.compile(r"\bcurl\b(?=[^|;&]*(?:\s-[a-zA-Z]*[oO]\b|--output|--remote-name))"),
    "wget": re.compile(r"\bwget\b"),
    "huggingface": re.compile(r"\b(?:huggingface-cli|hf)\s+download\b|\bsnapshot_download\("),
}
#: Environment variables that carry a Hugging Face token.
HUB_TOKENS = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "HUGGINGFACE_HUB_TOKEN"})
#: Owners whose repositories all ask for a token. Source: their model pages.
_GATED_OWNERS = frozenset({"meta-llama"})


@dataclass(frozen=True)
class Download:
    """A container that fetches weights before or beside the engine."""

    document: Document
    pod: PodTemplate
    container: Body
    path: str
    tool: str

    @cached_property
    def script(self) -> str:
        """Command and arguments as one text."""
        return script_of(self.container)


def script_of(container: Body) -> str:
    """Command and arguments of a container as one text."""
    words: list[str] = []
    for key in ("command", "args"):
        found = container.get(key) or []
        words += [str(word) for word in found] if isinstance(found, list) else [str(found)]
    return " ".join(words)


def downloads(document: Document) -> Iterator[Download]:
    """Init containers and Job containers that run a known download tool."""
    for pod in document.pod_templates:
        for init in (True, False):
            if not init and document.kind not in {"Job", "CronJob"}:
                continue
            for container in pod.containers(init=init):
                script = script_of(container)
                for tool, mark in TOOLS.items():
                    if mark.search(script):
                        yield Download(document, pod, container, pod.container_path(container, init=init), tool)
                        break


def hub_repository(engine: EngineContainer) -> str:
    """Hugging Face id that the engine fetches by itself, empty where it reads a path or a bucket."""
    model = engine.model
    return model if _REPOSITORY.fullmatch(model) and not model.startswith((".", "/")) else ""


def hub_repositories(container: Body) -> list[str]:
    """Hugging Face ids that a container's script names."""
    return [next(filter(None, match.groups())) for match in _HUB_IN_SCRIPT.finditer(script_of(container))]


def gated(repository: str) -> bool:
    """Whether Hugging Face gives the repository only to a token.

    The catalog's own entries count by their exact id: copies of others under another owner are open.
    """
    model = catalog().models.get(repository)
    return model.gated if model is not None else repository.partition("/")[0] in _GATED_OWNERS


def environment_names(container: Body) -> set[str]:
    """Names of a container's environment variables that have a value or a source."""
    return {
        str(each.get("name"))
        for each in container.get("env") or []
        if isinstance(each, Mapping) and (each.get("value") or each.get("valueFrom"))
    }


def literal(container: Body, name: str) -> str | None:
    """Literal value of an environment variable, None where absent or from a reference."""
    for each in container.get("env") or []:
        if isinstance(each, Mapping) and each.get("name") == name and each.get("value") is not None:
            return str(each["value"])
    return None


def has_unseen_environment(container: Body) -> bool:
    """Whether variables come from a ConfigMap or Secret as a whole."""
    return bool(container.get("envFrom"))


def weights_bytes(engine: EngineContainer, release: Release) -> int | None:
    """Bytes of the weights that an engine serves, None where neither catalog nor annotation says."""
    plan = plan_workload(engine, release)
    return int(plan.weights_gigabytes * 10**9) if plan is not None else None


def weights_mount(engine: EngineContainer) -> Mount | None:
    """The mount that a local model path lies on."""
    return mount_of(mounts(engine.pod, engine.container), engine.model) if engine.model.startswith("/") else None


def claim_of(mount: Mount, owner: Document, release: Release) -> Document | None:
    """The PersistentVolumeClaim behind a mount, where the release has it."""
    name = dig(mount.volume, "persistentVolumeClaim", "claimName")
    if name:
        found = release.find("PersistentVolumeClaim", str(name))
        return found if found is not None and together(release, owner, found) else None
    return None


def claim_spec(mount: Mount, owner: Document, release: Release) -> Mapping[str, Any]:
    """Specification of the claim behind a mount: a rendered claim, an ephemeral volume, or a claim template."""
    claim = claim_of(mount, owner, release)
    if claim is not None:
        return claim.get("spec", default={})  # type: ignore[no-any-return]
    ephemeral = dig(mount.volume, "ephemeral", "volumeClaimTemplate", "spec")
    if isinstance(ephemeral, Mapping):
        return ephemeral
    for template in owner.get("spec", "volumeClaimTemplates", default=[]) or []:
        if dig(template, "metadata", "name") == mount.name:
            return dig(template, "spec", default={})  # type: ignore[no-any-return]
    return {}


def on_efs(mount: Mount, owner: Document, release: Release) -> bool:
    """Whether a mount is a network file system of Amazon EFS, by its class, driver or server."""
    server = str(dig(mount.volume, "nfs", "server", default=""))
    driver = str(dig(mount.volume, "csi", "driver", default=""))
    spec = claim_spec(mount, owner, release)
    return ".efs." in server or driver == "efs.csi.aws.com" or is_efs_class(spec, release)


def is_efs_class(spec: Mapping[str, Any], release: Release) -> bool:
    """Whether a claim's StorageClass or bound volume is Amazon EFS."""
    name = str(spec.get("storageClassName") or "")
    storage_class = release.find("StorageClass", name) if name else None
    if storage_class is not None:
        return bool(storage_class.get("provisioner") == "efs.csi.aws.com")
    volume = release.find("PersistentVolume", str(spec.get("volumeName") or ""))
    if volume is not None and volume.get("spec", "csi", "driver"):
        return bool(volume.get("spec", "csi", "driver") == "efs.csi.aws.com")
    return bool(re.search(r"(^|[^a-z])efs([^a-z]|$)", name))
