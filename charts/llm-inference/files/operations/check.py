# ruff: noqa: INP001 - a script of its own, not part of a package
"""What `helm test` asks of a release: that it is well, answers, is measured, and is seen by its autoscaler.

Reads what to ask from the JSON file that is its only argument (templates/operations/_operations.tpl writes it) and
needs nothing but Python 3.10. Every check is tried until it holds or time is up, and each is told in one line; the exit
code is 0 where all hold, 1 where one does not, 2 for a file that cannot be read.

A model that is scaled to zero is asleep, not ill: then only its autoscaler is asked.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Json = Any
Target = Mapping[str, Any]

PAUSE_SECONDS = 3
ASK_SECONDS = 60
"""For one answer: the model may have a queue."""
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class CheckError(Exception):
    """What is not as it should be."""


def ask(
    url: str,
    *,
    body: Json = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = ASK_SECONDS,
    context: ssl.SSLContext | None = None,
) -> str:
    """The answer's text; raises CheckError with what went wrong."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data, sent)  # noqa: S310 - the plan says whom to ask
    try:
        with urllib.request.urlopen(request, timeout=seconds, context=context) as answer:  # noqa: S310
            text: bytes = answer.read()
            return text.decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        said = error.read(300).decode("utf-8", "replace").strip()
        raise CheckError(f"{url} answers {error.code}: {said}") from None
    except (OSError, ValueError) as error:
        raise CheckError(f"{url}: {getattr(error, 'reason', error)}") from None


def ask_json(url: str, **options: Any) -> Json:
    """As `ask`, for JSON."""
    text = ask(url, **options)
    try:
        return json.loads(text)
    except ValueError:
        raise CheckError(f"{url} answers what is no JSON: {text[:100]!r}") from None


# --- The model --------------------------------------------------------------------------------------------------------


def health(target: Target) -> str:
    """The health endpoint answers."""
    ask(target["url"])
    return f"{target['url']} answers"


def answer(target: Target) -> str:
    """One answer that has in it what was asked for."""
    key = os.environ.get("API_KEY")
    started = time.monotonic()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    found = ask_json(target["url"], body=target["body"], headers=headers)
    took = time.monotonic() - started
    whole = found if isinstance(found, dict) else {}
    items = whole.get(target["items"]) if target["items"] else found
    if not isinstance(items, list) or not items or target["field"] not in items[0]:
        raise CheckError(f"{target['url']}: no {target['items']}[0].{target['field']} in {json.dumps(found)[:200]}")
    if not items[0][target["field"]] and items[0][target["field"]] != 0:
        raise CheckError(f"{target['url']}: {target['items']}[0].{target['field']} is empty")
    tokens = (whole.get("usage") or {}).get("total_tokens")
    return f"{target['body']['model']} answered in {took:.1f} s" + (f", {tokens} tokens" if tokens else "")


def metrics(target: Target) -> str:
    """The engine shows every series that scaling, alerts and dashboards are made of, for this model."""
    lines = ask(target["url"]).splitlines()
    for series in target["series"]:
        own = [each for each in lines if each.startswith(series + "{") and target["label"] in each]
        if not own:
            others = "for other labels only" if any(each.startswith(series) for each in lines) else "not at all"
            raise CheckError(f"{target['url']} shows {series}{{{target['label']}}} {others}")
    return f"{target['url']} shows {len(target['series'])} series of the model"


# --- The autoscaler ---------------------------------------------------------------------------------------------------


def cluster(path: str) -> Json:
    """An object of the Kubernetes API; None where there is none."""
    base = os.environ.get("KUBERNETES_URL")
    context = None
    headers: dict[str, str] = {}
    if not base:
        host = os.environ["KUBERNETES_SERVICE_HOST"]
        base = f"https://{f'[{host}]' if ':' in host else host}:{os.environ['KUBERNETES_SERVICE_PORT']}"
        context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
        headers["Authorization"] = f"Bearer {(ACCOUNT / 'token').read_text(encoding='utf-8').strip()}"
    try:
        return ask_json(base + path, headers=headers, context=context)
    except CheckError as error:
        if " answers 404" in str(error):
            return None
        raise


def conditions(thing: Json) -> dict[str, Json]:
    """Conditions of an object by type."""
    return {each["type"]: each for each in (thing.get("status") or {}).get("conditions") or []}


def told(condition: Json) -> str:
    """What a condition says, for people."""
    return str(condition.get("message") or condition.get("reason") or condition.get("status"))


def autoscaler(target: Target) -> str:
    """KEDA reads every trigger of the ScaledObject, and the HPA that it made acts on it."""
    here = target["namespace"]
    path = f"/apis/keda.sh/v1alpha1/namespaces/{here}/scaledobjects/{target['name']}"
    scaled = cluster(path)
    if scaled is None:
        raise CheckError(f"there is no ScaledObject {target['name']} in {here}")
    found = conditions(scaled)
    ready = found.get("Ready") or {"reason": "KEDA has not looked at it: is it installed?"}
    if ready.get("status") != "True":
        raise CheckError(f"ScaledObject {target['name']} is not ready: {told(ready)}")
    if (found.get("Paused") or {}).get("status") == "True":
        raise CheckError(f"ScaledObject {target['name']} is paused: {told(found['Paused'])}")
    if (found.get("Fallback") or {}).get("status") == "True":
        raise CheckError(
            f"ScaledObject {target['name']} holds its fallback, it reads no metrics: {told(found['Fallback'])}"
        )
    for metric, state in ((scaled.get("status") or {}).get("health") or {}).items():
        if state.get("status") == "Failing":
            raise CheckError(f"KEDA cannot read {metric}: {state.get('numberOfFailures')} failures")
    name = (scaled.get("status") or {}).get("hpaName") or f"keda-hpa-{target['name']}"
    hpa = cluster(f"/apis/autoscaling/v2/namespaces/{here}/horizontalpodautoscalers/{name}")
    if hpa is None:
        raise CheckError(f"there is no HorizontalPodAutoscaler {name}: KEDA has not made it yet")
    for kind in ("AbleToScale", "ScalingActive"):
        each = conditions(hpa).get(kind)
        # At zero replicas the HPA is switched off, as it should be: KEDA wakes the model.
        if each is not None and each["status"] == "False" and each.get("reason") != "ScalingDisabled":
            raise CheckError(f"HorizontalPodAutoscaler {name} does not act: {told(each)}")
    return f"ScaledObject {target['name']} is ready and its HPA acts"


def is_asleep(target: Target) -> bool:
    """Whether the autoscaler holds the workload at zero."""
    workload = cluster(target["path"])
    return bool(workload is not None and workload["spec"].get("replicas") == 0)


def triggers(target: Target) -> str:
    """Prometheus has exactly one value for each query of the ScaledObject: nothing is what makes it blind."""
    scaled = cluster(f"/apis/keda.sh/v1alpha1/namespaces/{target['namespace']}/scaledobjects/{target['name']}")
    if scaled is None:
        raise CheckError(f"there is no ScaledObject {target['name']} in {target['namespace']}")
    values = []
    for each in scaled["spec"]["triggers"]:
        words = each["metadata"]
        # The identity of KEDA's operator signs for Amazon's Prometheus; this pod has none.
        if each["type"] == "prometheus" and "awsRegion" not in words:
            seconds = int(words.get("timeout") or 3000) / 1000 + 2
            values.append(f"{each.get('name')} {value_of(each.get('name'), words, seconds)}")
    return f"Prometheus has every trigger of {target['name']}: {', '.join(values) or 'none is its'}"


def value_of(name: str, words: Mapping[str, str], seconds: float) -> str:
    """The one value of a trigger's query."""
    headers = {}
    if os.environ.get("PROMETHEUS_TOKEN"):
        headers["Authorization"] = f"Bearer {os.environ['PROMETHEUS_TOKEN']}"
    elif os.environ.get("PROMETHEUS_USER"):
        pair = f"{os.environ['PROMETHEUS_USER']}:{os.environ.get('PROMETHEUS_PASSWORD', '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    address = words["serverAddress"].rstrip("/")
    url = f"{address}/api/v1/query?{urllib.parse.urlencode({'query': words['query']})}"
    try:
        found = ask_json(url, headers=headers, seconds=seconds)
    except CheckError as error:
        # The query alone is longer than what is wrong with it.
        raise CheckError(str(error).replace(url, address)) from None
    result = (found.get("data") or {}).get("result")
    if found.get("status") != "success" or not isinstance(result, list):
        raise CheckError(f"{address}: {json.dumps(found)[:200]}")
    if len(result) != 1:
        raise CheckError(f"{address} has {len(result) or 'nothing'} for the trigger {name}, not one value")
    return str(result[0]["value"][1])


CHECKS: dict[str, Callable[[Target], str]] = {
    "health": health,
    "gateway": health,
    "answer": answer,
    "metrics": metrics,
    "autoscaler": autoscaler,
    "triggers": triggers,
}
OF_REPLICAS = {"health", "answer", "metrics"}


def run(plan: Json, say: Callable[[str], None]) -> int:
    """Every check of the plan; how many do not hold."""
    deadline = time.monotonic() + plan["timeoutSeconds"]
    failed = 0
    sleeping = None
    for target in plan["checks"]:
        kind = target["check"]
        if kind in OF_REPLICAS:
            if sleeping is None:
                sleeping = [each["name"] for each in plan["scaled"] if is_asleep(each)]
            if sleeping:
                say(f"asleep {kind}: {', '.join(sleeping)} has no replica, nothing is asked")
                continue
        while True:
            try:
                say(f"ok     {kind}: {CHECKS[kind](target)}")
                break
            except CheckError as error:
                if time.monotonic() + PAUSE_SECONDS >= deadline:
                    say(f"FAILED {kind}: {error}")
                    failed += 1
                    break
                time.sleep(PAUSE_SECONDS)
    return failed


def main(arguments: list[str]) -> int:
    """Run the plan of a file."""
    try:
        plan = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    except (IndexError, OSError, ValueError) as error:
        print(f"no plan of checks: {error}", file=sys.stderr)
        return 2
    failed = run(plan, say=lambda line: print(line, flush=True))
    print(f"{len(plan['checks']) - failed} of {len(plan['checks'])} checks hold", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
