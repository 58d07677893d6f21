from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from chartproof.errors import InputError
from chartproof.findings import Severity
from chartproof.release import Release
from chartproof.schema import (
    Engine,
    Finish,
    JsonSchemaEngine,
    Outcome,
    Payload,
    SchemaCheck,
    Verdict,
    Violation,
    check_schemas,
    validate,
)

Make = Callable[..., Release]
Good = Callable[[str], dict[str, Any]]


class Recording:
    """An engine that says the same of everything, and remembers what it was asked."""

    def __init__(self, name: str, verdict: Verdict) -> None:
        self.name = name
        self.verdict = verdict
        self.asked: list[list[Payload]] = []

    @contextmanager
    def running(self, documents: Sequence[Payload]) -> Iterator[Finish]:
        self.asked.append(list(documents))
        yield lambda: [self.verdict] * len(documents)


VALID = Verdict(Outcome.VALID)
INVALID = Verdict(Outcome.INVALID, (Violation("spec.replicas", "must be a whole number"),))
UNKNOWN = Verdict(Outcome.UNKNOWN_KIND)


def test_a_good_release_has_no_findings(good: Good, release: Make) -> None:
    assert check_schemas([release(good("apps/deployment_v1"), good("core/service_v1"))]) == {"release": []}


def test_findings_stand_under_their_release_and_name_object_path_and_template(good: Good, release: Make) -> None:
    wrong = good("apps/deployment_v1")
    wrong["spec"]["replicas"] = "2"
    found = check_schemas([release(good("core/service_v1"), name="fine"), release(wrong, name="broken")])
    assert found["fine"] == []
    (finding,) = found["broken"]
    assert (finding.rule, finding.severity) == ("LLM013", Severity.ERROR)
    assert (finding.object, finding.path, finding.source) == ("Deployment/engine", "spec.replicas", "broken.yaml:0")
    assert finding.message == 'must be a whole number, not the string "2"'
    assert finding.hint == "write it without quotes: 2"


def test_an_unknown_kind_is_an_error_and_never_skipped(release: Make) -> None:
    (finding,) = check_schemas(
        [release({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}})]
    )["release"]
    assert (finding.rule, finding.severity, finding.object) == ("LLM012", Severity.ERROR, "Widget/w")


@pytest.mark.parametrize(
    ("api_version", "kind", "hint"),
    [
        ("policy/v1beta1", "PodDisruptionBudget", "PodDisruptionBudget is served as policy/v1"),
        ("keda.sh/v1", "ScaledObject", "ScaledObject is served as keda.sh/v1alpha1"),
        ("autoscaling/v2beta2", "HorizontalPodAutoscaler", "served as autoscaling/v1 or autoscaling/v2"),
        ("apps/v1", "Deploymnet", "did you mean Deployment of apps/v1?"),
        ("app/v1", "Deploymnet", "did you mean Deployment of apps/v1?"),
        ("v1", "List", "documents of their own"),
        ("v1", "ConfigMapList", "documents of their own"),
        ("example.com/v1", "Widget", "chartproof has no schema"),
        ("a/b/c", "Widget", "<group>/<version>"),
        ("../core/v1", "Widget", "<group>/<version>"),
        ("", "Widget", "every object needs apiVersion"),
        ("v1", "", "every object needs kind"),
        ("", "", "every object needs apiVersion and kind"),
        (1, "Pod", "every object needs apiVersion"),
    ],
)
def test_the_hint_on_an_unknown_kind_says_what_was_meant(api_version: str, kind: str, hint: str, release: Make) -> None:
    (finding,) = check_schemas([release({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}})])[
        "release"
    ]
    assert finding.rule == "LLM012"
    assert hint in finding.hint


def test_a_kind_in_the_wrong_case_is_refused_by_its_schema(good: Good, release: Make) -> None:
    (finding,) = check_schemas([release(good("core/configmap_v1") | {"kind": "configMap"})])["release"]
    assert (finding.rule, finding.path, finding.hint) == ("LLM013", "kind", "write ConfigMap")


def test_an_object_without_kind_and_name_is_called_by_its_position(release: Make) -> None:
    (finding,) = check_schemas([release({"spec": {}})])["release"]
    assert (finding.rule, finding.object) == ("LLM012", "document 1")


@pytest.mark.parametrize(
    ("first", "second"), [(VALID, INVALID), (INVALID, VALID), (VALID, UNKNOWN), (INVALID, UNKNOWN)]
)
def test_engines_that_disagree_are_a_finding_of_their_own(
    first: Verdict, second: Verdict, good: Good, release: Make
) -> None:
    check = SchemaCheck(engines=[Recording("one", first), Recording("other", second)])
    (finding,) = check.check([release(good("core/service_v1"))])["release"]
    assert finding.rule == "LLM014"
    assert f"(one: {first.outcome.value}, other: {second.outcome.value})" in finding.message
    assert ("must be a whole number" in finding.message) == (INVALID in (first, second))


def test_documents_of_equal_content_are_judged_once_and_reported_each_time(good: Good, release: Make) -> None:
    engine = Recording("one", INVALID)
    check = SchemaCheck(engines=[engine])
    service, account = good("core/service_v1"), good("core/serviceaccount_v1")
    found = check.check([release(service, account, service, name="a"), release(service, name="b")])
    assert [len(each) for each in engine.asked] == [2]
    assert (len(found["a"]), len(found["b"])) == (3, 1)
    check.check([release(good("core/service_v1"), name="c")])
    assert len(engine.asked) == 1


def test_equality_is_of_content_and_not_of_numbers_that_compare_equal(good: Good, release: Make) -> None:
    engine = Recording("one", VALID)
    one, other = good("apps/deployment_v1"), good("apps/deployment_v1")
    one["spec"]["replicas"], other["spec"]["replicas"] = 1, True
    SchemaCheck(engines=[engine]).check([release(one, other)])
    assert [len(each) for each in engine.asked] == [2]


def test_nothing_to_check_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to check"):
        check_schemas([])


def test_a_release_without_documents_is_refused(good: Good, release: Make) -> None:
    with pytest.raises(InputError, match="an empty manifest proves nothing") as caught:
        check_schemas([release(good("core/service_v1")), release(name="empty")])
    assert caught.value.where == "empty.yaml"


@pytest.mark.parametrize("name", ["jsonschema", "kubeconform"])
def test_engines_refuse_an_empty_list_of_documents(name: str, engines: dict[str, Engine]) -> None:
    with pytest.raises(InputError, match="no documents"):
        validate(engines[name], [])


def test_two_releases_of_one_name_are_refused(good: Good, release: Make) -> None:
    with pytest.raises(InputError, match="two releases are called same"):
        check_schemas([release(good("core/service_v1"), name="same"), release(good("core/service_v1"), name="same")])


def test_a_number_that_json_does_not_have_is_refused_with_its_place(good: Good, release: Make) -> None:
    with pytest.raises(InputError, match="number that JSON does not have") as caught:
        check_schemas([release(good("core/configmap_v1") | {"data": {"a": float("nan")}})])
    assert caught.value.where == "release.yaml:0"


def test_verdicts_do_not_depend_on_what_was_judged_before(good: Good, release: Make) -> None:
    wrong = good("apps/deployment_v1")
    wrong["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "always"
    engine = JsonSchemaEngine()
    payloads = [Payload.of(each) for each in release(wrong, good("apps/deployment_v1"), wrong).documents]
    alone = [validate(engine, [each])[0] for each in payloads]
    assert validate(engine, payloads) == alone
    assert [each.outcome for each in alone] == [Outcome.INVALID, Outcome.VALID, Outcome.INVALID]


def test_engines_agree_on_a_whole_number_that_json_writes_with_a_fraction(good: Good, release: Make) -> None:
    body = good("apps/deployment_v1")
    body["spec"]["replicas"] = 2.0
    assert check_schemas([release(body)])["release"] == []
