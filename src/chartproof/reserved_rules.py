"""The rule ids that no file under `rules/` owns, documented like every other rule.

The schema engines, the chart and the suppression report them: they need more than one document and
its release, or Helm values, which rules never see.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cache

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules.registry import Context, Rule, all_rules


@cache
def documented_rules() -> tuple[Rule, ...]:
    """Every id that can be reported, with its documentation: the rules and the reserved ones, by id."""
    found = [value for value in globals().values() if isinstance(value, Rule)]
    return tuple(sorted((*all_rules(), *found), key=lambda each: each.id))


def _reserved(rule_id: str, name: str, severity: Severity) -> Callable[[Callable[[], None]], Rule]:
    """A rule that only has its documentation, which is the docstring of the decorated function."""

    def never(document: Document, context: Context) -> Iterator[Finding]:  # noqa: ARG001  (the contract of a check)
        return iter(())

    def declare(documented: Callable[[], None]) -> Rule:
        return Rule(rule_id, name, severity, (), never, inspect.cleandoc(documented.__doc__ or ""))

    return declare


@_reserved("LLM012", "unknown-kind", Severity.ERROR)
def unknown_kind() -> None:
    """No schema knows the object's kind in this API version.

    What:
        The object's `apiVersion` and `kind` are none of Kubernetes' own and of no operator that chartproof has
        schemas of. Reported by the two schema engines.

    Why it hurts:
        A kind that cannot be validated is not skipped in silence: it is a typing error, an API version that the
        cluster no longer serves, or an operator whose CRDs are missing there, and the installation fails half-way.

    Bad:
        apiVersion: keda.sh/v1
        kind: ScaledObject

    Good:
        apiVersion: keda.sh/v1alpha1
        kind: ScaledObject

    References:
        https://kubernetes.io/docs/reference/using-api/deprecation-guide/
    """


@_reserved("LLM013", "schema-violation", Severity.ERROR)
def schema_violation() -> None:
    """A field is unknown, missing or of the wrong type.

    What:
        The object does not fit the schema of its kind, closed objects included: a misspelled field is a violation.
        Reported when both schema engines say so.

    Why it hurts:
        The API server refuses wrong types, and drops unknown fields: a misspelled `startupProb` installs cleanly and
        protects nothing.

    Bad:
        spec:
          replicas: "2"
          startupProb: {}

    Good:
        spec:
          replicas: 2

    References:
        https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
    """


@_reserved("LLM014", "schema-engines-disagree", Severity.ERROR)
def schema_engines_disagree() -> None:
    """One schema engine accepts the object and the other refuses it.

    What:
        kubeconform and jsonschema validate every object against the same schema; here they differ.

    Why it hurts:
        One of two independent validators is wrong, so neither verdict can be trusted. It is most often a schema
        keyword that one of them reads differently.

    Bad:
        kubeconform: valid
        jsonschema: 'abc' does not match '^[0-9]+$'

    Good:
        kubeconform: valid
        jsonschema: valid

    References:
        https://github.com/yannh/kubeconform
        https://python-jsonschema.readthedocs.io
    """


@_reserved("LLM016", "contradicting-values", Severity.ERROR)
def contradicting_values() -> None:
    """Two values of the chart exclude each other.

    What:
        The chart refuses a pair of values of which only one can hold, where no rule with an id of its own covers the
        case. Reported while rendering, together with every other refusal.

    Why it hurts:
        One of the two would be ignored in silence, and it would be anybody's guess which.

    Bad:
        weights:
          delivery: volume
          volume:
            existingClaim: weights
            storageClassName: efs

    Good:
        weights:
          delivery: volume
          volume:
            existingClaim: weights

    References:
        The chart's README.md lists every value and what it excludes.
    """


@_reserved("LLM017", "missing-value", Severity.ERROR)
def missing_value() -> None:
    """A value is required with what else is switched on, and not set.

    What:
        The chart needs a value for which no default can be right, such as the bucket of an S3 source or the role of
        the nodes. Reported while rendering.

    Why it hurts:
        The release would install and its pods would wait or crash, each with a message that is far from the cause.

    Bad:
        weights:
          source: {type: s3}

    Good:
        weights:
          source:
            type: s3
            s3: {uri: "s3://example-llm-weights/qwen2.5-7b-instruct", region: us-east-1}

    References:
        The chart's README.md lists every value.
    """


@_reserved("LLM018", "unknown-catalog-key", Severity.ERROR)
def unknown_catalog_key() -> None:
    """A model, precision, instance type or engine version is not in the catalog.

    What:
        The chart derives memory, probes, targets and limits from `files/catalog`; the key it is given is not there.
        Reported while rendering.

    Why it hurts:
        Without the facts nothing can be derived, and a misspelled instance type would become a pool without nodes.

    Bad:
        nodes:
          instanceTypes: [g5.xlrage]

    Good:
        nodes:
          instanceTypes: [g5.xlarge]

    References:
        charts/llm-inference/files/catalog; `model.profile` describes a model that is not in it.
    """


@_reserved("LLM019", "unused-value", Severity.ERROR)
def unused_value() -> None:
    """A value is set that has no effect.

    What:
        The value belongs to a feature that is off, or to another choice than the one made. Reported while rendering.

    Why it hurts:
        Its author believes that it works.

    Bad:
        autoscaling:
          enabled: false
          maxReplicas: 8

    Good:
        autoscaling:
          enabled: true
          maxReplicas: 8

    References:
        The chart's README.md says what each value belongs to.
    """


@_reserved("LLM901", "unused-suppression", Severity.WARNING)
def unused_suppression() -> None:
    """A suppression that suppresses nothing.

    What:
        The object carries an annotation `chartproof.io/ignore.LLM###` of a rule that finds nothing here, or that does
        not exist. Rules that are not run, by `--select` or `--ignore`, are left in peace.

    Why it hurts:
        A suppression that outlives its reason hides the same fault when it comes back.

    Bad:
        metadata:
          annotations:
            chartproof.io/ignore.LLM006: "the HPA was removed long ago"

    Good:
        metadata:
          annotations: {}

    References:
        README.md, "Accepting a finding"
    """


@_reserved("LLM902", "expired-suppression", Severity.WARNING)
def expired_suppression() -> None:
    """A suppression whose last day is over.

    What:
        The annotation `chartproof.io/ignore.LLM###` has `until=` with a date in the past, or one that is no date. It
        no longer suppresses.

    Why it hurts:
        Somebody promised to be done by then. The finding is reported again, and this one says since when.

    Bad:
        metadata:
          annotations:
            chartproof.io/ignore.LLM402: "key comes with the gateway; until=2024-01-31"

    Good:
        metadata:
          annotations:
            chartproof.io/ignore.LLM402: "key comes with the gateway; until=2099-12-31"

    References:
        README.md, "Accepting a finding"
    """


@_reserved("LLM903", "suppression-without-reason", Severity.ERROR)
def suppression_without_reason() -> None:
    """A suppression that does not say why.

    What:
        The annotation `chartproof.io/ignore.LLM###` has no text beside its date. It does not suppress.

    Why it hurts:
        Nobody can tell later whether it still holds.

    Bad:
        metadata:
          annotations:
            chartproof.io/ignore.LLM402: "until=2099-12-31"

    Good:
        metadata:
          annotations:
            chartproof.io/ignore.LLM402: "reached through the gateway only; until=2099-12-31"

    References:
        README.md, "Accepting a finding"
    """
