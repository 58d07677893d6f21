"""The controller of LeaderWorkerSets as a plain process, in light and live clusters alike.

It makes StatefulSets of groups: one of all leaders, and for each leader one of its workers. Its webhooks complete and
judge LeaderWorkerSets, and tell the pods of a group where their leader is; without them nothing of it works, so that a
cluster counts as started only when they answer.

At any speed it waits in real seconds: 5 where the StatefulSet of the leaders is being deleted, 1 for a revision that is
not there yet (LeaderWorkerSet 0.9, `pkg/controllers`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from chartproof.cluster.addons import certificates
from chartproof.cluster.api import Api, ApiError, token_request
from chartproof.cluster.ports import LOOPBACK, free_ports
from chartproof.cluster.processes import ProcessSpec
from chartproof.cluster.state import Place
from chartproof.errors import ClusterError

Body = Mapping[str, Any]

NAMESPACE = "lws-system"
PROGRAM = "lws-controller"
SET_LABEL = "leaderworkerset.sigs.k8s.io/name"
"""Label of every pod of a group, with the name of its LeaderWorkerSet."""

_SCRAPER = "prometheus-k8s"
_READY_SECONDS = 60
_PAUSE_SECONDS = 0.05
_TOKEN_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Ports:
    """Where it listens, on the loopback interface; `metrics` 0 is nowhere."""

    webhooks: int
    health: int
    metrics: int = 0

    @classmethod
    def choose(cls) -> Self:
        """Ports that are free now, and no metrics, for a cluster without Prometheus."""
        return cls(*free_ports(2))


def objects(ports: Ports, directory: Path) -> list[Body]:
    """Namespace, webhooks, and whom Prometheus asks as; `directory` is the cluster's.

    Webhooks as its own manifests have them (`config/webhook`): they refuse what they cannot judge, and of pods they see
    those of groups only. That for DisaggregatedSets is left out: nothing here makes any.
    """
    authority = certificates.authority(directory)

    def webhook(name: str, path: str, group: str, resources: str, operations: list[str], selector: Body) -> Body:
        return {
            "name": name,
            "clientConfig": {"url": f"https://{LOOPBACK}:{ports.webhooks}/{path}", "caBundle": authority},
            "rules": [
                {"apiGroups": [group], "apiVersions": ["v1"], "operations": operations, "resources": [resources]}
            ],
            **({"objectSelector": selector} if selector else {}),
            "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail",
            "sideEffects": "None",
        }

    def both(prefix: str, pod_operations: list[str]) -> list[Body]:
        of_groups = {"matchExpressions": [{"key": SET_LABEL, "operator": "Exists"}]}
        word = {"m": "mutate", "v": "validate"}[prefix]
        return [
            webhook(
                f"{prefix}leaderworkerset.kb.io",
                f"{word}-leaderworkerset-x-k8s-io-v1-leaderworkerset",
                "leaderworkerset.x-k8s.io",
                "leaderworkersets",
                ["CREATE", "UPDATE"],
                {},
            ),
            webhook(f"{prefix}pod.kb.io", f"{word}--v1-pod", "", "pods", pod_operations, of_groups),
        ]

    configuration = {"apiVersion": "admissionregistration.k8s.io/v1"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            **configuration,
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "lws-mutating-webhook-configuration"},
            "webhooks": both("m", ["CREATE"]),
        },
        {
            **configuration,
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "lws-validating-webhook-configuration"},
            "webhooks": both("v", ["CREATE", "UPDATE"]),
        },
        *(_scraper() if ports.metrics else ()),
    ]


def _scraper() -> list[Body]:
    """Whom it shows its metrics to: it asks the API server who asks, and whether that one may."""
    rbac = "rbac.authorization.k8s.io"
    role = "lws-metrics-reader"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _SCRAPER, "namespace": NAMESPACE}},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": role},
            "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": _SCRAPER, "namespace": NAMESPACE}],
        },
    ]


def token_file(directory: Path) -> Path:
    """What Prometheus shows when it asks for metrics, below the cluster's directory."""
    return directory / "lws" / "token"


def save_token(api: Api, directory: Path) -> None:
    """Have the server sign a token for Prometheus; its objects must be there."""
    path = api.resource("v1", "ServiceAccount").path(NAMESPACE, _SCRAPER)
    answer = api.request("POST", f"{path}/token", body=token_request(_TOKEN_SECONDS))
    file = token_file(directory)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(answer["status"]["token"], encoding="utf-8")


def configuration_file(directory: Path) -> Path:
    """Its configuration, below the cluster's directory."""
    return directory / "lws" / "configuration.yaml"


def prepare(directory: Path, ports: Ports) -> None:
    """Write its configuration, which says what has no option."""
    file = configuration_file(directory)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_text(yaml.safe_dump(_configuration(directory, ports), sort_keys=False), encoding="utf-8")


def process(place: Place, ports: Ports, programs: Mapping[str, Path]) -> ProcessSpec:
    """The controller."""
    return ProcessSpec(
        PROGRAM,
        (
            str(programs[PROGRAM]),
            f"--config={configuration_file(place.directory)}",
            # Conflicts are usual, and no error that wants a stack trace.
            "--zap-devel=false",
            "--zap-stacktrace-level=panic",
            "--zap-encoder=console",
        ),
        {"KUBECONFIG": str(place.kubeconfig)},
        health=f"http://{LOOPBACK}:{ports.health}/readyz",
    )


def _configuration(directory: Path, ports: Ports) -> Body:
    return {
        "apiVersion": "config.lws.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "webhook": {
            "host": LOOPBACK,
            "port": ports.webhooks,
            "certDir": str(certificates.certificate_directory(directory)),
        },
        "health": {"healthProbeBindAddress": f"{LOOPBACK}:{ports.health}"},
        "metrics": {"bindAddress": f"{LOOPBACK}:{ports.metrics}" if ports.metrics else "0"},
        # There is one; after a kill the next would wait for the last one's lease.
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
    }


_SMALLEST: Body = {
    "apiVersion": "leaderworkerset.x-k8s.io/v1",
    "kind": "LeaderWorkerSet",
    "metadata": {"name": "is-it-there", "namespace": "default"},
    "spec": {
        "replicas": 0,
        "leaderWorkerTemplate": {
            "size": 1,
            "workerTemplate": {"spec": {"containers": [{"name": "none", "image": "none"}]}},
        },
    },
}


def await_admission(api: Api, logs: Path) -> None:
    """Wait until its webhooks answer the API server. Its health is that of another port, which opens before."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            api.apply(_SMALLEST, dry_run=True)
        except ApiError as error:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"the webhooks of LeaderWorkerSets do not answer: {error.what}", where=str(logs / f"{PROGRAM}.log")
                ) from error
            time.sleep(_PAUSE_SECONDS)
        else:
            return
