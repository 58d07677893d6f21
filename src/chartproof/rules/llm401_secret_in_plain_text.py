"""LLM401."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules._pods import all_containers
from chartproof.rules._weights import script_of
from chartproof.rules.registry import Context, rule

#: Shapes of tokens that leave no doubt. Sources: the providers' own documentation.
_TOKENS = re.compile(
    r"\b(hf_[A-Za-z0-9]{30,}|AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|ghp_[A-Za-z0-9]{36}|sk-[A-Za-z0-9_-]{32,})\b"
)
_NAMES = re.compile(r"(^|_)(TOKEN|API_?KEYS?|SECRET(_ACCESS)?(_KEY)?|PASSWORD|PASSWD|PRIVATE_KEY)$", re.IGNORECASE)
#: Values that stand for no secret: engines and clients without a key are told one of these.
_PLACEHOLDERS = re.compile(
    r"^(empty|none|null|dummy|fake|unused|placeholder|changeme|not[-_ ]?(needed|used|required)|no[-_ ]?key.*"
    r"|your[-_ ].*|replace.*|x{4,}|\*+|true|false|disabled|.{0,5}|[/$].*|<.*>|\{\{.*|https?://.*)$",
    re.IGNORECASE,
)
_OPTION = re.compile(r"--(?:api-key|admin-api-key)(?:=|\s+)(\S+)")
_METADATA = frozenset(
    {"password", "bearerToken", "customAuthValue", "awsSecretAccessKey", "apiKey", "token", "cert", "key"}
)
_AUTHORIZATION = re.compile(r"authorization\s*=\s*(bearer|basic)\s+\S+", re.IGNORECASE)
#: A token of fewer different characters is a placeholder such as hf_xxxxxxxx.
_LEAST_DIFFERENT = 8


@rule(
    id="LLM401",
    name="secret-in-plain-text",
    severity=Severity.ERROR,
    kinds=(
        "ConfigMap",
        "Secret",
        "ScaledObject",
        "Deployment",
        "StatefulSet",
        "ReplicaSet",
        "DaemonSet",
        "Pod",
        "Job",
        "CronJob",
        "LeaderWorkerSet",
    ),
)
def secret_in_plain_text(document: Document, context: Context) -> Iterator[Finding]:
    """A secret stands in plain text in a manifest.

    What:
        An environment variable whose name speaks of a token, key or password has a literal value, `--api-key`
        is given a literal, a KEDA trigger carries a password, or a ConfigMap (a Secret: warning) holds
        something of the unmistakable shape of a token.

    Why it hurts:
        Manifests are in version control, in Helm's release Secret, and readable to everybody who may look at
        pods. The key has to be considered public.

    Bad:
        `{name: HF_TOKEN, value: hf_...}`

    Good:
        `{name: HF_TOKEN, valueFrom: {secretKeyRef: {name: hugging-face, key: token}}}`

    References:
        https://kubernetes.io/docs/concepts/configuration/secret/
        https://keda.sh/docs/latest/concepts/authentication/
    """
    yield from _in_containers(document, context)
    if document.kind in {"ConfigMap", "Secret"}:
        yield from _in_data(document, context)
    yield from _in_triggers(document, context)


def _in_containers(document: Document, context: Context) -> Iterator[Finding]:
    for pod in document.pod_templates:
        for container, path in all_containers(pod):
            for i, each in enumerate(container.get("env") or []):
                name, value = str(dig(each, "name", default="")), dig(each, "value")
                if isinstance(value, str) and (_secret_name(name, value) or _token(value)):
                    yield context.finding(
                        document,
                        f"environment variable {name} has its secret in plain text",
                        path=f"{path}.env[{i}].value",
                        hint="read it from a Secret (valueFrom.secretKeyRef), and replace the exposed one",
                    )
            for given in _OPTION.findall(script_of(container)):
                if not _PLACEHOLDERS.match(given.strip("\"'")):
                    yield context.finding(
                        document,
                        "the API key is written on the command line",
                        path=path,
                        hint="set VLLM_API_KEY from a Secret instead of --api-key",
                    )


def _in_data(document: Document, context: Context) -> Iterator[Finding]:
    for field in ("data", "stringData"):
        for key, text in (document.get(field, default={}) or {}).items():
            if _token(str(text)):
                found = context.finding(
                    document, f"{key!r} holds a token", path=f"{field}.{key}", hint="keep it out of manifests"
                )
                yield found if document.kind == "ConfigMap" else replace(found, severity=Severity.WARNING)


def _in_triggers(document: Document, context: Context) -> Iterator[Finding]:
    for i, trigger in enumerate(document.get("spec", "triggers", default=[]) or []):
        for key, value in (dig(trigger, "metadata", default={}) or {}).items():
            plain = key in _METADATA and not _PLACEHOLDERS.match(str(value))
            if plain or (key == "customHeaders" and _AUTHORIZATION.search(str(value))):
                yield context.finding(
                    document,
                    f"trigger metadata {key!r} has its secret in plain text",
                    path=f"spec.triggers[{i}].metadata.{key}",
                    hint="use a TriggerAuthentication with secretTargetRef",
                )


def _secret_name(name: str, value: str) -> bool:
    return bool(_NAMES.search(name)) and not _PLACEHOLDERS.match(value.strip())


def _token(text: str) -> bool:
    """Whether a text holds a token, not a placeholder such as hf_xxxxxxxx."""
    return any(len(set(match[0][4:])) >= _LEAST_DIFFERENT for match in _TOKENS.finditer(text))
