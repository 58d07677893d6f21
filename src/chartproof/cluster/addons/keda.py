"""KEDA as plain processes: operator, metrics adapter and admission webhooks.

They share the administrator's certificate, which kwokctl made with every purpose and the names they need: the gRPC
between adapter and operator wants both sides' certificates from one authority (KEDA 2.21 `pkg/metricsservice/utils`),
and the API server checks what adapter and webhooks present.

KEDA's HTTP client asks the environment for a proxy (`pkg/util/http.go`: `Proxy: http.ProxyFromEnvironment`; the
Prometheus scaler uses it, `pkg/scalers/prometheus_scaler.go`), so HTTP_PROXY leads queries for
`http://prometheus-operated.monitoring.svc:9090` into the pod network. Go itself never sends loopback addresses there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chartproof.cluster.addons import certificates
from chartproof.cluster.live import LiveSettings
from chartproof.cluster.ports import LOOPBACK
from chartproof.cluster.processes import ProcessSpec
from chartproof.cluster.state import Place

Body = Mapping[str, Any]

NAMESPACE = "keda"
ADAPTER_SERVICE = "keda-operator-metrics-apiserver"
API_SERVICE = "v1beta1.external.metrics.k8s.io"

CERTIFICATE_NAMES = (f"{ADAPTER_SERVICE}.{NAMESPACE}.svc",)
"""Names that the certificate must have: the API server asks for the Service's (apiserver `pkg/util/proxy`)."""

_REQUESTS_PER_SECOND, _BURST = 20, 30
"""KEDA's own limits of what it asks the API server, per second and at once."""

_WEBHOOKS = {
    "keda.sh": ("scaledobject", "scaledjob", "triggerauthentication", "clustertriggerauthentication"),
    "eventing.keda.sh": ("cloudeventsource", "clustercloudeventsource"),
}


def objects(settings: LiveSettings, directory: Path) -> list[Body]:
    """Namespace, external metrics API and admission webhooks; `directory` is the cluster's."""
    authority = certificates.authority(directory)
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": ADAPTER_SERVICE, "namespace": NAMESPACE},
            # EndpointSlices refuse loopback addresses, a name is not looked at.
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API_SERVICE},
            "spec": {
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"name": ADAPTER_SERVICE, "namespace": NAMESPACE, "port": settings.keda_adapter_port},
                "caBundle": authority,
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "keda-admission"},
            "webhooks": [
                _webhook(group, kind, f"https://{LOOPBACK}:{settings.keda_webhooks_port}", authority)
                for group, kinds in _WEBHOOKS.items()
                for kind in kinds
            ],
        },
    ]


def _webhook(group: str, kind: str, server: str, authority: str) -> Body:
    return {
        "name": f"v{kind}.{group}",
        "clientConfig": {
            "url": f"{server}/validate-{group.replace('.', '-')}-v1alpha1-{kind}",
            "caBundle": authority,
        },
        "rules": [
            {
                "apiGroups": [group],
                "apiVersions": ["v1alpha1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": [f"{kind}s"],
            }
        ],
        "admissionReviewVersions": ["v1"],
        # As KEDA's own manifests have it: what the webhook does not see, the operator refuses later.
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "timeoutSeconds": 10,
    }


def processes(place: Place, settings: LiveSettings, programs: Mapping[str, Path]) -> list[ProcessSpec]:
    """Operator, adapter, webhooks."""
    own = certificates.certificate_directory(place.directory)
    network = f"http://{LOOPBACK}:{settings.network_port}"
    environment = {
        "KUBECONFIG": str(place.kubeconfig),
        # Must be there; empty is every namespace.
        "WATCH_NAMESPACE": "",
        "POD_NAMESPACE": NAMESPACE,
        "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
    }
    limits = (
        f"--kube-api-qps={math.ceil(_REQUESTS_PER_SECOND * settings.speed)}",
        f"--kube-api-burst={math.ceil(_BURST * settings.speed)}",
        "--zap-encoder=console",
    )
    return [
        ProcessSpec(
            "keda-operator",
            (
                str(programs["keda-operator"]),
                f"--cert-dir={own}",
                f"--metrics-service-bind-address={LOOPBACK}:{settings.keda_service_port}",
                f"--metrics-bind-address={LOOPBACK}:{settings.keda_metrics_port}",
                f"--health-probe-bind-address={LOOPBACK}:{settings.keda_health_port}",
                *limits,
            ),
            {**environment, "HTTP_PROXY": network, "NO_PROXY": f"{LOOPBACK},localhost"},
            health=f"http://{LOOPBACK}:{settings.keda_health_port}/readyz",
        ),
        ProcessSpec(
            "keda-adapter",
            (
                str(programs["keda-adapter"]),
                f"--metrics-service-address={LOOPBACK}:{settings.keda_service_port}",
                f"--cert-dir={own}",
                f"--bind-address={LOOPBACK}",
                f"--secure-port={settings.keda_adapter_port}",
                f"--client-ca-file={own}/ca.crt",
                f"--tls-cert-file={own}/tls.crt",
                f"--tls-private-key-file={own}/tls.key",
                # The adapter has no option for the address of this one: it is reachable from outside, with nothing
                # but its own counters.
                f"--port={settings.keda_adapter_metrics_port}",
                *(f"--{each}-kubeconfig={place.kubeconfig}" for each in ("authentication", "authorization", "lister")),
                *limits,
            ),
            environment,
            health=f"https://{LOOPBACK}:{settings.keda_adapter_port}/readyz",
        ),
        ProcessSpec(
            "keda-admission-webhooks",
            (
                str(programs["keda-admission-webhooks"]),
                f"--cert-dir={own}",
                f"--port={settings.keda_webhooks_port}",
                f"--metrics-bind-address={LOOPBACK}:{settings.keda_webhooks_metrics_port}",
                f"--health-probe-bind-address={LOOPBACK}:{settings.keda_webhooks_health_port}",
                *limits,
            ),
            environment,
            health=f"http://{LOOPBACK}:{settings.keda_webhooks_health_port}/readyz",
        ),
    ]
