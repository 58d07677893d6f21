"""Staging of weights into a bucket, by the very script that the chart runs in its Jobs.

One script knows the manifest's format and every verification; this module loads it from the chart's
files instead of repeating it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from chartproof.errors import ChartproofError, InputError, ToolchainError, UsageError
from chartproof.resources import directory

#: What the script fetches unless told otherwise; the chart's own default of `weights.include`.
DEFAULT_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "tokenizer*")


class StagingError(ChartproofError):
    """Weights could not be staged: no access, nothing there, no space, or data that do not match."""


@dataclass(frozen=True, slots=True)
class Staging:
    """What to copy where. `source` is a Hugging Face repository or a local directory."""

    source: str
    target: str
    revision: str
    patterns: tuple[str, ...] = DEFAULT_PATTERNS
    retries: int = 5
    concurrency: int = 8
    timeout_seconds: int = 60
    endpoint_url: str = ""
    region: str = ""


def stage(staging: Staging) -> str:
    """Copy the weights, write the manifest last, and return its sha256 (for `weights.manifestSha256`).

    Files that are stored already, with the right size and sha256, are not sent again. Raises UsageError
    for sources and targets that are none, StagingError where the copy fails, ToolchainError without
    the client libraries.
    """
    script = _script()
    for variable, value in (("AWS_ENDPOINT_URL", staging.endpoint_url), ("AWS_REGION", staging.region)):
        if value:
            os.environ[variable] = value
    options = script.Options(
        revision=staging.revision,
        include=staging.patterns,
        retries=staging.retries,
        concurrency=staging.concurrency,
        timeout_seconds=staging.timeout_seconds,
    )
    try:
        return str(script.stage(_source(staging.source), staging.target.rstrip("/"), options))
    except script.WeightsError as error:
        kind = UsageError if error.code == script.USAGE else StagingError
        raise kind(str(error)) from error
    except ImportError as error:
        raise ToolchainError(
            f"staging needs the libraries of bucket and hub: {error}", how="pip install boto3 huggingface_hub"
        ) from error
    except OSError as error:
        raise InputError(str(error), how="make room, or set TMPDIR to a larger volume") from error


def _source(text: str) -> str:
    """`file://` for what is a directory here, else the repository on the hub."""
    path = Path(text).expanduser()
    if path.is_dir():
        return f"file://{path.resolve()}"
    if text.startswith(("/", "./", "../", "~")):
        raise InputError("there is no such directory", where=text)
    return f"hf://{text.removeprefix('hf://')}"


@cache
def _script() -> ModuleType:
    path = directory("weights") / "weights.py"
    spec = importlib.util.spec_from_file_location("chartproof_weights_script", path)
    if spec is None or spec.loader is None:
        raise InputError("the weights script cannot be loaded", where=str(path), how="reinstall chartproof")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up there
    spec.loader.exec_module(module)
    # In a container its log is standard output; here that is for the result.
    module.__dict__["say"] = lambda message: print(message, file=sys.stderr)
    return module
