"""Where a host name leads in the pod network: Services and their EndpointSlices, as watches tell of them.

What kube-proxy and the cluster's DNS do between them:

* A Service with an address of its own (by name or by that address) leads to one of its endpoints, chosen at random,
  at the target port of the Service's port. Endpoints that are ready are taken, and where none is, those that are
  serving while they terminate (Kubernetes 1.36, `pkg/proxy/topology.go`, CategorizeEndpoints; conditions that are not
  given: `pkg/proxy/endpointslicecache.go`).
* The name of a headless Service stands for the addresses of its ready endpoints, `HOSTNAME.NAME` for one of them; the
  port stays the client's, and without a ready endpoint there is no such name (Kubernetes DNS specification, 2.4).

Pods that are published before they are ready (`publishNotReadyAddresses`) come with the condition `ready`: the
controller that writes the slices sees to that (`k8s.io/endpointslice`, podToEndpoint). Session affinity, traffic
policies and topology hints are not played, and a Service of type ExternalName leads nowhere.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from chartproof.cluster.machines.watch import Change, Key, key_of
from chartproof.release import dig

Body = Mapping[str, Any]
Listener = Callable[[Key], None]

#: Label of an EndpointSlice with the name of its Service.
SERVICE_LABEL = "kubernetes.io/service-name"
_HEADLESS = "None"


class NoSuchHostError(Exception):
    """Nothing in the cluster has this name."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address of a pod and a port there."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class _Member:
    """An endpoint of a slice, with its conditions filled in."""

    address: str
    hostname: str
    ready: bool
    serving: bool
    terminating: bool


@dataclass(frozen=True, slots=True)
class _Slice:
    """An EndpointSlice: port numbers by their names in the Service, and its endpoints."""

    ports: Mapping[str, int | None]
    members: tuple[_Member, ...]


class Endpoints:
    """Every Service of a cluster, and the endpoints behind it.

    `service_changed` and `slice_changed` are listeners for watches of Services and EndpointSlices.
    """

    def __init__(self, choice: random.Random | None = None) -> None:
        self.services: dict[Key, Body] = {}
        # Not for security: only so that requests are spread, and repeatable in tests.
        self._choice = choice or random.Random()  # noqa: S311
        self._slices: defaultdict[Key, dict[str, _Slice]] = defaultdict(dict)
        self._service_of: dict[Key, Key] = {}
        self._cluster_addresses: dict[str, Key] = {}
        self._listeners: list[Listener] = []

    def on_change(self, listener: Listener) -> None:
        """Call `listener` with namespace and name of each Service that has changed, or whose endpoints have."""
        self._listeners.append(listener)

    def service_changed(self, change: Change, body: Body) -> None:
        """A Service is there, has changed or is gone."""
        key = key_of(body)
        for address in _cluster_addresses(self.services.pop(key, {})):
            self._cluster_addresses.pop(address, None)
        if change is not Change.DELETED:
            self.services[key] = body
            self._cluster_addresses.update(dict.fromkeys(_cluster_addresses(body), key))
        self._tell(key)

    def slice_changed(self, change: Change, body: Body) -> None:
        """An EndpointSlice is there, has changed or is gone."""
        key = namespace, name = key_of(body)
        service = dig(body, "metadata", "labels", SERVICE_LABEL, default="")
        before = self._service_of.pop(key, None)
        if before is not None:
            self._slices[before].pop(name, None)
        now = (namespace, service) if service and change is not Change.DELETED else None
        if now is not None and body.get("addressType", "IPv4") == "IPv4":
            self._service_of[key] = now
            self._slices[now][name] = _slice(body)
        for each in dict.fromkeys((before, now)):
            if each is not None:
                self._tell(each)

    def resolve(self, host: str, port: int) -> Endpoint | None:
        """Where a connection to `host` and `port` ends; None where it is refused, as nobody is behind the Service.

        An address that no Service has is a pod's. Raises NoSuchHostError.
        """
        host = host.rstrip(".").lower()
        if _is_address(host):
            service = self._cluster_addresses.get(host)
            return Endpoint(host, port) if service is None else self._behind(service, port)
        hostname, key = self._named(host)
        if hostname or dig(self.services[key], "spec", "clusterIP") == _HEADLESS:
            return Endpoint(self._published(key, hostname, host), port)
        return self._behind(key, port)

    def ready(self, service: Key, port: int) -> list[Endpoint]:
        """The ready endpoints behind a Service's port, in order of their addresses."""
        found = {
            Endpoint(member.address, number)
            for member, number in self._reachable(service, port, headless_too=True)
            if member.ready
        }
        return sorted(found, key=lambda each: (each.address, each.port))

    def offers(self, address: str) -> bool:
        """Whether any Service has a pod's address among its ready endpoints, and does not know that the pod ends."""
        members = (member for found in self._slices.values() for each in found.values() for member in each.members)
        return any(each.address == address and each.ready and not each.terminating for each in members)

    def names(self, host: str) -> tuple[str, ...]:
        """Every name under which the host could have been asked for, its own first."""
        host = host.rstrip(".").lower()
        if _is_address(host):
            return (host,)
        short = host.removesuffix(".cluster.local").removesuffix(".svc")
        return tuple(dict.fromkeys((host, short, f"{short}.svc", f"{short}.svc.cluster.local")))

    def _named(self, host: str) -> tuple[str, Key]:
        """Hostname of one endpoint (empty: any) and Service that a name stands for. Raises NoSuchHostError."""
        short = host.removesuffix(".cluster.local")
        parts = short.removesuffix(".svc").split(".")
        # `.cluster.local` comes after `.svc` only.
        if len(parts) in {2, 3} and (short == host or short.endswith(".svc")):
            key = parts[-1], parts[-2]
            if key in self.services and dig(self.services[key], "spec", "type") != "ExternalName":
                return (parts[0] if len(parts) > 2 else ""), key  # noqa: PLR2004 - a name before that of the Service
        raise NoSuchHostError(host)

    def _published(self, key: Key, hostname: str, host: str) -> str:
        """An address that the DNS has for a headless Service. Raises NoSuchHostError."""
        found = [
            member.address
            for each in self._slices[key].values()
            for member in each.members
            if member.ready and hostname in {"", member.hostname}
        ]
        if not found:
            raise NoSuchHostError(host)
        return self._choice.choice(found)

    def _behind(self, key: Key, port: int) -> Endpoint | None:
        """What kube-proxy chooses."""
        members = list(self._reachable(key, port))
        usable = [each for each in members if each[0].ready]
        usable = usable or [each for each in members if each[0].serving and each[0].terminating]
        if not usable:
            return None
        member, number = self._choice.choice(usable)
        return Endpoint(member.address, number)

    def _reachable(self, key: Key, port: int, *, headless_too: bool = False) -> list[tuple[_Member, int]]:
        """Every endpoint that answers for a Service's port, with its target port."""
        service = self.services.get(key, {})
        if dig(service, "spec", "clusterIP") == _HEADLESS and not headless_too:
            return []
        wanted = next((each for each in dig(service, "spec", "ports", default=()) if each.get("port") == port), None)
        if wanted is None:
            return []
        name, target = wanted.get("name") or "", wanted.get("targetPort", port)
        found = []
        for each in self._slices[key].values():
            if name not in each.ports:
                continue
            # A port without a number stands for all.
            number = each.ports[name] or (target if isinstance(target, int) else port)
            found += [(member, number) for member in each.members]
        return found

    def _tell(self, key: Key) -> None:
        for each in self._listeners:
            each(key)


def _slice(body: Body) -> _Slice:
    members = tuple(_member(each) for each in body.get("endpoints") or () if each.get("addresses"))
    ports = {
        each.get("name") or "": each.get("port")
        for each in body.get("ports") or ()
        if each.get("protocol", "TCP") == "TCP"
    }
    return _Slice(ports, members)


def _member(endpoint: Body) -> _Member:
    conditions = endpoint.get("conditions") or {}
    ready, serving = conditions.get("ready"), conditions.get("serving")
    return _Member(
        # Several addresses are alternatives; kube-proxy takes the first.
        address=endpoint["addresses"][0],
        hostname=endpoint.get("hostname") or "",
        ready=ready is None or ready,
        serving=serving is None or serving,
        terminating=bool(conditions.get("terminating")),
    )


def _cluster_addresses(body: Body) -> list[str]:
    spec = body.get("spec") or {}
    found = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [each for each in found if each and each != _HEADLESS]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
