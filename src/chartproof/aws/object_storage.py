"""Which pods read or write Amazon S3, where, and as whom: read off their commands and variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chartproof.command_line import expand_references, expand_variables, shell_of, split_script
from chartproof.release import Body, Document, PodTemplate, Release

ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"
_ROLE_ARN = re.compile(r"arn:aws[\w-]*:iam::(?P<account>\d{12}):role(?P<path>/(?:[^\s/]+/)*)(?P<name>[^/\s]+)")

#: A character of an address; `$(NAME)` counts as one though it holds brackets.
_CHARACTER = r"(?:\$\([^)\s]*\)|[^/\s\"'`;|&)\\,])"
_ADDRESS = re.compile(rf"\bs3://(?P<bucket>{_CHARACTER}*)(?:/(?P<prefix>(?:{_CHARACTER}|/)*))?")
#: What a bucket may be called. Source: "General purpose bucket naming rules" of the Amazon S3 user guide.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
#: Options after which an address is written to.
_TARGET_OPTIONS = frozenset({"--target", "--destination", "--output", "--upload-to"})
_COPY_VERBS = frozenset({"sync", "cp", "mv"})
_KEYS = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE"})
_ENDPOINTS = frozenset({"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "RUNAI_STREAMER_S3_ENDPOINT", "S3_ENDPOINT_URL"})
_UNSIGNED = frozenset({"AWS_NO_SIGN_REQUEST", "RUNAI_STREAMER_S3_UNSIGNED"})
_AMAZON = re.compile(r"\.amazonaws\.com(\.cn)?(/|$)")
_AGENTS = frozenset({"DaemonSet"})


@dataclass(frozen=True, slots=True)
class Access:
    """One prefix of a bucket that the pods of a workload read, or write to (`writes`).

    `region` is what the container is told, empty where it is not; `signed_by` is `role`, or `keys` where the
    container brings static ones.
    """

    workload: str
    namespace: str
    service_account: str
    bucket: str
    prefix: str
    writes: bool
    region: str
    signed_by: str

    @property
    def address(self) -> str:
        """As people write it."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True)
class Unread:
    """An address of S3 that the manifests do not say to the end."""

    workload: str
    address: str


@dataclass(frozen=True, slots=True)
class Role:
    """The role that a ServiceAccount is annotated with (IRSA); `account` is empty where that is no role's ARN."""

    arn: str
    account: str
    path: str
    name: str


def service_account_of(pod: PodTemplate) -> str:
    """Name of the ServiceAccount that the pods run as."""
    return str(pod.spec.get("serviceAccountName") or pod.spec.get("serviceAccount") or "default")


def service_account(release: Release, namespace: str, name: str) -> Document | None:
    """The ServiceAccount, where the release brings it."""
    return release.find("ServiceAccount", name, namespace)


def annotated_role(document: Document | None) -> Role | None:
    """The role of a ServiceAccount's annotation, None where it has none."""
    text = str(document.annotations.get(ROLE_ANNOTATION) or "") if document is not None else ""
    if not text:
        return None
    match = _ROLE_ARN.fullmatch(text)
    if match is None:
        return Role(text, "", "/", text.rpartition("/")[2])
    return Role(text, match["account"], match["path"], match["name"])


def accesses(release: Release) -> tuple[list[Access], list[Unread]]:
    """Every access to Amazon S3, in rendered order, and the addresses that cannot be read."""
    found: dict[Access, None] = {}
    unread: dict[Unread, None] = {}
    for document in release.workloads:
        if document.kind in _AGENTS:
            continue
        for pod in document.pod_templates:
            for container in (*pod.containers(init=True), *pod.containers()):
                for each in _of_container(release, document, pod, container):
                    if isinstance(each, Access):
                        found.setdefault(each)
                    else:
                        unread.setdefault(each)
    return list(found), list(unread)


def _of_container(release: Release, document: Document, pod: PodTemplate, container: Body) -> Iterator[Access | Unread]:
    literals = _literals(container)
    endpoint = next((literals[name] for name in sorted(_ENDPOINTS) if literals.get(name)), None)
    names = set(literals)
    if (
        (endpoint and not _AMAZON.search(endpoint))
        or names & _UNSIGNED
        or "--no-sign-request" in " ".join(_words(container))
    ):
        return
    commands = _commands(container, literals)
    addresses = [(text, False) for name, text in literals.items() if text and name not in _ENDPOINTS]
    for words in commands:
        written = set(_written(words))
        addresses += [(word, index in written) for index, word in enumerate(words)]
    for text, writes in addresses:
        for match in _ADDRESS.finditer(text or ""):
            bucket, prefix = match["bucket"], (match["prefix"] or "").rstrip("*").strip("/")
            if "$" in match[0] or not _BUCKET.fullmatch(bucket):
                yield Unread(document.identity, match[0])
                continue
            yield Access(
                workload=document.identity,
                namespace=release.namespace_of(document),
                service_account=service_account_of(pod),
                bucket=bucket,
                prefix=prefix,
                writes=writes,
                region=literals.get("AWS_REGION") or literals.get("AWS_DEFAULT_REGION") or "",
                signed_by="keys" if names & _KEYS else "role",
            )


def _literals(container: Body) -> Mapping[str, str | None]:
    """Environment variables by name; None where the value comes from elsewhere."""
    return {
        str(each.get("name")): None if each.get("value") is None else str(each["value"])
        for each in container.get("env") or []
        if isinstance(each, Mapping) and (each.get("value") is not None or each.get("valueFrom"))
    }


def _words(container: Body) -> list[str]:
    words: list[str] = []
    for key in ("command", "args"):
        found: Any = container.get(key)
        words += [str(word) for word in found] if isinstance(found, list) else []
    return words


def _commands(container: Body, literals: Mapping[str, str | None]) -> list[Sequence[str]]:
    """The container's command, or those of the script that its shell runs."""
    words = [expand_references(word, literals) for word in _words(container)]
    shell = shell_of(words)
    if shell is None:
        return [words]
    script = split_script(words[shell[1]])
    return [[expand_variables(word, literals) for word in each.words] for each in script]


def _written(words: Sequence[str]) -> Iterator[int]:
    """Positions of the addresses that a command writes to."""
    for index, word in enumerate(words):
        if word in _TARGET_OPTIONS:
            yield index + 1
        elif word.partition("=")[0] in _TARGET_OPTIONS:
            yield index
    verb = next((index for index, word in enumerate(words) if word in _COPY_VERBS), None)
    if verb is not None and any(word.rpartition("/")[2] in {"aws", "s5cmd", "rclone"} for word in words[:verb]):
        # Source and target are the first two words that look like places.
        places = [i for i in range(verb + 1, len(words)) if not words[i].startswith("-") and "/" in words[i]]
        if len(places) > 1:
            yield places[1]


def region_of(found: Sequence[Access]) -> str:
    """The one region that all accesses name; empty where none or several are named."""
    regions = {each.region for each in found if each.region}
    return regions.pop() if len(regions) == 1 else ""
