"""The faults, as data: what is broken, what must hold meanwhile, which alert tells of it, and who mends it.

`docs/faults.md` has the same table, made by `python -m tests.cluster.faults.table`; `test_faults` has a test for each,
`test_groups` for those of replicas over several nodes, and `test_roles` for those of prompts and answers apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEAD_MAN = "LlmWatchdog"
"""Fires for ever; whoever receives it raises the alarm when it stops coming."""
BLIND = "LlmAutoscalerBlind"
PAGE = Path(__file__).parents[3] / "docs" / "faults.md"
BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, as a release under the load of three replicas meets it."""

    name: str
    what: str
    holds: str
    alerts: tuple[str, ...] = ()
    """Must fire while it lasts (`pending` where `pending` says so). No other of ours may, beyond `may_fire`."""
    pending: bool = False
    """The alert's `for` is longer than the fault lasts in the test: it is seen pending, and promtool's tests go on."""
    may_fire: tuple[str, ...] = ()
    silent: bool = False
    """No alert can be evaluated: the dead man's switch tells."""
    mended: str = "by itself"

    @property
    def alert(self) -> str:
        """The alert in words."""
        if self.silent:
            return f"none can: `{DEAD_MAN}` stops coming"
        return ", ".join(f"`{each}`" for each in self.alerts) or "none"


FAULTS = (
    Fault(
        "prometheus-down",
        "Prometheus does not run",
        "The replica count is held: KEDA's queries fail, and a failed query is not a load of 0.",
        silent=True,
        mended="by itself, once Prometheus is back",
    ),
    Fault(
        "prometheus-stale",
        "Prometheus answers what it answered before, for ever",
        "Replicas stay at what the last true answer asked for.",
        mended="by itself, at the first true answer",
    ),
    Fault(
        "prometheus-nan",
        "Prometheus answers NaN",
        "The replica count is held: NaN is an error and no load of 0.",
        alerts=(BLIND,),
        mended="by itself, at the first number",
    ),
    Fault(
        "targets-lost",
        "every pod and kube-state-metrics are lost as scrape targets",
        "The replica count is held: an empty result is an error.",
        alerts=(BLIND,),
        mended="by itself, at the first scrape",
    ),
    Fault(
        "keda-operator-killed",
        "KEDA's operator is killed",
        "The replica count is held: the HPA gets no metric.",
        mended="by itself, when the operator has started again",
    ),
    Fault(
        "keda-adapter-killed",
        "KEDA's metrics adapter is killed",
        "The replica count is held: the HPA gets no metric.",
        mended="by itself, when the adapter has started again",
    ),
    Fault(
        "keda-adapter-gone",
        "KEDA's metrics adapter stays away",
        "The replica count is held: the HPA gets no metric.",
        alerts=(BLIND,),
        mended="by itself, once the adapter is back",
    ),
    Fault(
        "api-server-restarted",
        "the API server is killed",
        "No pod is replaced, no request is lost: serving needs no API server.",
        mended="by itself, when the API server has started again",
    ),
    Fault(
        "engine-hanging",
        "an engine answers its health checks and computes nothing",
        "Nothing is taken away, and the other replicas lose no request.",
        alerts=("LlmEngineHung",),
        may_fire=("LlmRequestsWaiting", "LlmRequestsWaitingLong", "LlmKvCacheFull", "LlmTimeToFirstTokenHigh"),
        mended="by hand: delete the pod, as the alert says; its requests are lost",
    ),
    Fault(
        "killed-while-loading",
        "a pod is OOM-killed while it loads the model",
        "No request reaches it, none is lost; the others are not taken away.",
        mended="by itself: the container starts again, with back-off",
    ),
    Fault(
        "node-lost",
        "a spot node is taken back with two minutes' notice",
        "Its replica drains and another takes its place; no request is lost.",
        mended="by itself: Karpenter brings another node",
    ),
    Fault(
        "node-without-gpu",
        "a node registers without its GPU",
        "The replicas that serve go on; the new one waits.",
        alerts=("NodeWithoutGpu",),
        pending=True,
        may_fire=("LlmPodWaitsForGpu", "LlmRequestsWaiting"),
        mended="by hand: delete the NodeClaim, as the alert says",
    ),
    Fault(
        "rollout",
        "every pod is replaced by an upgrade",
        "As many replicas as the load asks for serve all the time; no request is lost.",
        mended="nothing is broken",
    ),
    Fault(
        "group-controller-killed",
        "the controller of LeaderWorkerSets is killed",
        "No pod is replaced, no request is lost: serving needs no controller.",
        mended="by itself, when the controller has started again",
    ),
    Fault(
        "group-worker-killed",
        "a worker of a group of nodes is killed",
        "Its group alone is made anew, and its leader's requests are lost; the other group loses none.",
        may_fire=("LlmRequestsWaiting", "LlmRequestsWaitingLong", "LlmTimeToFirstTokenHigh", "LlmEngineHung"),
        mended="by itself: the controller deletes the leader, and everything of the group comes again",
    ),
    Fault(
        "decode-replica-killed",
        "a replica that makes answers is killed, of a model with prompts and answers on separate replicas",
        "Its answers end, and what the router sends it before it hears of that fails; then nothing more is lost.",
        mended="by itself: the container starts again, and the router finds it",
    ),
    Fault(
        "prefill-replica-killed",
        "a replica that computes prompts is killed, of such a model",
        "The prompts that it computes fail, and what the router sends it before it hears of that; then nothing more.",
        mended="by itself: the container starts again, and the router finds it",
    ),
    Fault(
        "two-models",
        "another model of the same weights serves in the same namespace and node pool",
        "Each is woken and scaled by its own requests alone.",
        mended="nothing is broken",
    ),
)
BY_NAME = {each.name: each for each in FAULTS}


def markdown() -> str:
    """The table for the page."""
    rows = ["| fault | what must hold | alert | mended |", "|---|---|---|---|"]
    rows += [f"| {each.what} | {each.holds} | {each.alert} | {each.mended} |" for each in FAULTS]
    return "\n".join(rows) + "\n"


def page(text: str) -> str:
    """The page with the table of now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{markdown()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
