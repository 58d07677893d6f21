"""LLM130."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._pods import security
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers

#: vLLM's image has this user, with a writable home, from 0.22 on.
_VLLM_USER = 2000
_VLLM_USER_SINCE = (0, 22, 0)
#: Releases with a torch that asks for the user's name on import and stops where there is none.
_NAME_NEEDED = ((0, 20, 0), (0, 27, 1))
_NAMES = ("USER", "LOGNAME", "LNAME", "USERNAME")


@rule(id="LLM130", name="unknown-user-without-home", severity=Severity.ERROR, kinds=SERVING)
def unknown_user_without_home(document: Document, context: Context) -> Iterator[Finding]:
    """The engine runs as a user that its image does not know, without a home directory.

    What:
        `runAsUser` is neither root nor a user of the engine's own image, and `HOME` is not set; or, with
        vLLM 0.20 to 0.26, `USER` is not.

    Why it hurts:
        HOME becomes `/`, where nothing can be written: "Permission denied: /.cache", "/.triton". Those
        vLLM releases already stop at import: "getpwuid(): uid not found".

    Bad:
        `securityContext: {runAsUser: 1000}`

    Good:
        `runAsUser: 2000` (vLLM's own user from 0.22 on), or `HOME` and `USER` in `env`.

    References:
        https://docs.vllm.ai/en/latest/deployment/docker.html
        https://github.com/vllm-project/vllm/issues/44548
    """
    for engine in engine_containers(document):
        user = security(engine.pod, engine.container, "runAsUser")
        if not isinstance(user, int) or user == 0 or not engine.official_image or _known(user, engine):
            continue
        missing = [] if engine.environment.get("HOME") else ["HOME"]
        first, fixed = _NAME_NEEDED
        named = any(engine.environment.get(name) for name in _NAMES)
        if engine.engine == "vllm" and engine.version and first <= engine.version < fixed and not named:
            missing.append("USER")
        if missing:
            yield context.finding(
                document,
                f"{engine} runs as uid {user}, which its image does not know, without {' and '.join(missing)}",
                path=f"{engine.path}.env",
                hint="set HOME to a writable directory and USER to any name, or run as the image's own user (2000)",
            )


def _known(user: int, engine: EngineContainer) -> bool:
    if engine.engine != "vllm" or user != _VLLM_USER:
        return False
    return engine.version is None or engine.version >= _VLLM_USER_SINCE
