"""What a gateway of the release asks when the model's own replicas do not answer, and what that costs.

Read from LiteLLM's configuration in a ConfigMap: the target whose address is a Service of the workload, and the first
paid one among those that it falls back to. Source: LiteLLM, docs/my-website/docs/proxy/reliability.md (`fallbacks`),
docs/proxy/custom_pricing.md (`input_cost_per_token`, `output_cost_per_token`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import yaml

from chartproof.release import Document, Release, dig, has_labels
from chartproof.simulate.world import Overflow
from chartproof.workload import EngineContainer


def overflow_of(release: Release, container: EngineContainer) -> Overflow | None:
    """The paid API that a gateway in front of this workload falls back to; None where there is none."""
    services = {each.name for each in release.of_kind("Service") if _selects(each, container)}
    for configuration in _configurations(release):
        entries = [each for each in configuration["model_list"] if isinstance(each, Mapping)]
        own = {str(each.get("model_name")) for each in entries if _host(each) in services}
        for name in _fallbacks(configuration, own):
            for each in entries:
                prices = [dig(each, "litellm_params", f"{kind}_cost_per_token") or 0 for kind in ("input", "output")]
                if each.get("model_name") == name and any(prices):
                    prompts, answers = (float(price) * 1e6 for price in prices)
                    return Overflow(prompts, usd_per_million_answer_tokens=answers)
    return None


def _configurations(release: Release) -> Iterator[Mapping[str, Any]]:
    for document in release.of_kind("ConfigMap"):
        for text in (document.get("data", default={}) or {}).values():
            if "model_list:" not in str(text):
                continue
            try:
                found = yaml.safe_load(str(text))
            except yaml.YAMLError:
                continue
            if isinstance(found, Mapping) and isinstance(found.get("model_list"), list):
                yield found


def _fallbacks(configuration: Mapping[str, Any], own: set[str]) -> Iterator[str]:
    """Names that requests go to after one of ours, in their order."""
    for each in dig(configuration, "router_settings", "fallbacks", default=[]) or []:
        for name, others in each.items() if isinstance(each, Mapping) else ():
            if name in own and isinstance(others, list):
                yield from (str(other) for other in others)


def _selects(service: Document, container: EngineContainer) -> bool:
    selector = service.get("spec", "selector", default={})
    return bool(selector) and has_labels(container.pod.labels, selector)


def _host(entry: Mapping[str, Any]) -> str:
    """The first label of the host that an entry's requests go to: a Service's name within the cluster."""
    address = dig(entry, "litellm_params", "api_base", default="")
    return (urlsplit(str(address)).hostname or "").partition(".")[0]
