"""LLM713."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._models import at_least
from chartproof.rules.registry import Context, rule
from chartproof.versions import format_version
from chartproof.workload import engine_containers

#: vLLM's image has no Ray from this release on.
_RAY_GONE = (0, 18, 0)
_RAY = re.compile(r"\bray\s+(start|stop|status)\b|multi-node-serving\.sh|run_cluster\.sh")


@rule(id="LLM713", name="ray-missing-from-image", severity=Severity.ERROR, kinds=SERVING)
def ray_missing_from_image(document: Document, context: Context) -> Iterator[Finding]:
    """The engine is to run on Ray, which its image does not contain.

    What:
        vLLM's own image from 0.18 on, with `--distributed-executor-backend ray`, `ray start`, or the
        multi-node script, and nothing that installs Ray.

    Why it hurts:
        "ray: command not found", or an import error: the group never forms.

    Bad:
        `ray start --head && vllm serve ... --distributed-executor-backend ray` on v0.33.0

    Good:
        `--nnodes 2 --node-rank $(LWS_WORKER_INDEX) --master-addr $(LWS_LEADER_ADDRESS)`, and `--headless` on
        the workers.

    References:
        https://docs.vllm.ai/en/latest/deployment/frameworks/lws.html
        https://docs.vllm.ai/en/latest/serving/parallelism_scaling.html
    """
    for engine in engine_containers(document):
        if engine.engine != "vllm" or not engine.official_image or not at_least(engine, _RAY_GONE):
            continue
        script = engine.shell_script or ""
        asked = engine.option("--distributed-executor-backend") == "ray" or _RAY.search(script)
        if asked and not re.search(r"(pip|uv)\b.*install\b.*\bray\b", script) and engine.version:
            yield context.finding(
                document,
                f"{engine} uses Ray, which is not in vLLM's image {format_version(engine.version)}",
                path=f"{engine.path}.image",
                hint="use --nnodes and --node-rank, or an image of your own with Ray",
            )
