from __future__ import annotations

import random
from typing import Any

import pytest

from chartproof.cluster.machines.endpoints import Endpoint, Endpoints, NoSuchHostError
from chartproof.cluster.machines.watch import Change
from tests.cluster.machines.talker import endpoint, endpoint_slice, leaving, service

ADDRESSES = ("10.64.0.1", "10.64.0.2")


def endpoints(service_body: dict[str, Any], *slices: dict[str, Any]) -> Endpoints:
    found = Endpoints(random.Random(1))  # noqa: S311 - the same in every run
    found.service_changed(Change.ADDED, service_body)
    for each in slices:
        found.slice_changed(Change.ADDED, each)
    return found


def reached(found: Endpoints, host: str = "llama.llm", port: int = 80) -> set[Endpoint | None]:
    return {found.resolve(host, port) for _ in range(100)}


@pytest.mark.parametrize(
    "host", ["llama.llm", "llama.llm.svc", "llama.llm.svc.cluster.local", "LLAMA.llm.svc.", "10.96.0.10"]
)
def test_every_form_of_a_name_leads_to_the_target_port(host: str) -> None:
    found = endpoints(service(), endpoint_slice(endpoint(ADDRESSES[0])))
    assert found.resolve(host, 80) == Endpoint(ADDRESSES[0], 8000)


@pytest.mark.parametrize(
    "host", ["llama", "other.llm", "llama.other.svc", "llama.llm.cluster.local", "www.example.com", "a.b.llama.llm"]
)
def test_other_names_do_not_exist(host: str) -> None:
    with pytest.raises(NoSuchHostError):
        endpoints(service(), endpoint_slice(endpoint(ADDRESSES[0]))).resolve(host, 80)


def test_an_address_that_no_service_has_is_a_pod() -> None:
    assert endpoints(service()).resolve("10.64.0.9", 8000) == Endpoint("10.64.0.9", 8000)


def test_ready_endpoints_of_all_slices_take_turns_by_chance() -> None:
    found = endpoints(
        service(),
        endpoint_slice(endpoint(ADDRESSES[0]), endpoint("10.64.0.3", ready=False)),
        endpoint_slice(endpoint(ADDRESSES[1]), name="llama-xyz", port=8001),
    )
    assert reached(found) == {Endpoint(ADDRESSES[0], 8000), Endpoint(ADDRESSES[1], 8001)}


def test_one_that_terminates_is_taken_only_where_none_is_ready() -> None:
    found = endpoints(service(), endpoint_slice(endpoint(ADDRESSES[0]), leaving(ADDRESSES[1])))
    assert reached(found) == {Endpoint(ADDRESSES[0], 8000)}
    found.slice_changed(Change.MODIFIED, endpoint_slice(leaving(ADDRESSES[1])))
    assert reached(found) == {Endpoint(ADDRESSES[1], 8000)}
    assert found.ready(("llm", "llama"), 80) == []


def test_one_that_terminates_and_serves_no_more_is_never_taken() -> None:
    gone = endpoint(ADDRESSES[0], ready=False, serving=False, terminating=True)
    assert reached(endpoints(service(), endpoint_slice(gone))) == {None}


def test_what_ends_is_offered_no_more_even_where_it_is_published_all_the_same() -> None:
    published = endpoint("10.64.0.3", ready=True, terminating=True)
    found = endpoints(service(), endpoint_slice(endpoint(ADDRESSES[0]), leaving(ADDRESSES[1]), published))
    assert [found.offers(each) for each in (*ADDRESSES, "10.64.0.3", "10.64.0.9")] == [True, False, False, False]


def test_conditions_that_are_not_given_count_as_ready() -> None:
    found = endpoints(service(), endpoint_slice({"addresses": [ADDRESSES[0]], "conditions": {}}))
    assert reached(found) == {Endpoint(ADDRESSES[0], 8000)}


def test_a_service_without_endpoints_or_without_this_port_refuses() -> None:
    assert reached(endpoints(service())) == {None}
    assert reached(endpoints(service(), endpoint_slice(endpoint(ADDRESSES[0]))), port=81) == {None}


def test_each_port_leads_to_its_own_target() -> None:
    body = service()
    body["spec"]["ports"].append({"name": "metrics", "port": 9090, "targetPort": 9000})
    slices = endpoint_slice(endpoint(ADDRESSES[0]))
    slices["ports"].append({"name": "metrics", "port": 9000})
    found = endpoints(body, slices)
    assert reached(found, port=9090) == {Endpoint(ADDRESSES[0], 9000)}
    assert reached(found) == {Endpoint(ADDRESSES[0], 8000)}


def test_a_slice_that_names_no_port_number_stands_for_all() -> None:
    found = endpoints(service(target=8080), endpoint_slice(endpoint(ADDRESSES[0]), port=None))
    assert reached(found) == {Endpoint(ADDRESSES[0], 8080)}


def test_the_name_of_a_headless_service_is_its_ready_pods_at_the_port_that_was_asked_for() -> None:
    pods = [endpoint(ADDRESSES[0]) | {"hostname": "llama-0"}, endpoint(ADDRESSES[1]) | {"hostname": "llama-1"}]
    found = endpoints(service(clusterIP="None"), endpoint_slice(*pods, leaving("10.64.0.3")))
    assert reached(found, port=8000) == {Endpoint(each, 8000) for each in ADDRESSES}
    assert reached(found, "llama-1.llama.llm.svc", port=8000) == {Endpoint(ADDRESSES[1], 8000)}
    assert found.ready(("llm", "llama"), 80) == [Endpoint(each, 8000) for each in ADDRESSES]
    with pytest.raises(NoSuchHostError):
        found.resolve("llama-2.llama.llm", 8000)


def test_a_headless_service_without_a_ready_pod_has_no_name() -> None:
    found = endpoints(service(clusterIP="None"), endpoint_slice(leaving(ADDRESSES[0])))
    with pytest.raises(NoSuchHostError):
        found.resolve("llama.llm", 8000)


def test_an_external_name_leads_nowhere() -> None:
    with pytest.raises(NoSuchHostError):
        endpoints(service(type="ExternalName", externalName="example.com", clusterIP="")).resolve("llama.llm", 80)


def test_what_is_deleted_is_forgotten() -> None:
    found = endpoints(service(), endpoint_slice(endpoint(ADDRESSES[0])))
    found.slice_changed(Change.DELETED, endpoint_slice())
    assert reached(found) == {None}
    found.service_changed(Change.DELETED, service())
    assert found.resolve("10.96.0.10", 80) == Endpoint("10.96.0.10", 80)
    with pytest.raises(NoSuchHostError):
        found.resolve("llama.llm", 80)


def test_a_slice_that_comes_to_another_service_leaves_the_first() -> None:
    found = endpoints(service(), endpoint_slice(endpoint(ADDRESSES[0])))
    found.service_changed(Change.ADDED, service("other", clusterIP="10.96.0.11"))
    told: list[tuple[str, str]] = []
    found.on_change(told.append)
    found.slice_changed(Change.MODIFIED, endpoint_slice(endpoint(ADDRESSES[0]), of="other"))
    assert reached(found) == {None}
    assert reached(found, "other.llm") == {Endpoint(ADDRESSES[0], 8000)}
    assert told == [("llm", "llama"), ("llm", "other")]


def test_addresses_of_another_family_are_left_out() -> None:
    found = endpoints(service(), endpoint_slice(endpoint("fd00::1"), addressType="IPv6"))
    assert reached(found) == {None}
