"""LLM601."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._weights import downloads
from chartproof.rules.registry import Context, rule

_CHECKS = re.compile(
    r"sha256|checksum|md5|manifest|\bcmp\b|verify|etag|\.(complete|done|success|ready)\b|_SUCCESS|\btouch\b|\bstat\b"
    r"|if-size-differ|size-only|du -s|wc -c",
    re.IGNORECASE,
)
_STOPS = re.compile(r"\bset\s+-[a-z]*e|\bset\s+-o\s+errexit|&&|\|\|\s*exit|(ba)?sh\s+-[a-z]*e|check=True")
_SWALLOWS = re.compile(r"\|\|\s*(true|:|echo)|;\s*exit\s+0\b")
_SEQUENCE = re.compile(r"[;\n]\s*\S")
#: Tools that compare what is there with the source and go on where they stopped.
_RESUMING = frozenset({"aws s3 sync", "s5cmd", "rclone", "huggingface", "gsutil"})
_TURNED_OFF = re.compile(r"--no-manifest\b")


@rule(
    id="LLM601",
    name="download-unverified",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod", "Job"),
)
def download_unverified(document: Document, context: Context) -> Iterator[Finding]:
    """Downloaded weights are used without a check that they are complete.

    What:
        A container that fetches weights swallows the error of its download command, copies without resuming and
        without checksum, size check or completion mark, or is told to skip its manifest. A note where the tool
        compares and resumes by itself and only the final check is missing.

    Why it hurts:
        A connection that breaks leaves half a file. The engine dies while loading, or in the worst case serves
        garbage; and each restart fetches tens of gigabytes again.

    Bad:
        `aws s3 cp --recursive s3://bucket/model /models || true`

    Good:
        a resumable fetch that verifies size and sha256 of every file against a manifest, then writes a completion mark

    References:
        https://docs.aws.amazon.com/cli/latest/reference/s3/sync.html
        https://huggingface.co/docs/huggingface_hub/guides/download
    """
    for each in downloads(document):
        checked = bool(_CHECKS.search(each.script))
        if _SWALLOWS.search(each.script):
            message = f"{each.tool}: a failed download is taken for a finished one, its error is swallowed"
        elif _SEQUENCE.search(each.script.strip()) and not _STOPS.search(each.script) and not checked:
            message = f"{each.tool} is followed by other commands without `set -e`: a failed download goes unnoticed"
        elif not checked and each.tool not in _RESUMING:
            message = f"{each.tool} neither resumes nor checks what it fetched"
        elif not checked:
            note = context.finding(
                document,
                f"{each.tool} leaves no completion mark and checks no checksum",
                path=each.path,
                hint="verify size and sha256 of every file against a manifest",
            )
            yield replace(note, severity=Severity.NOTE)
            continue
        else:
            continue
        yield context.finding(
            document, message, path=each.path, hint="let it fail, resume, and verify files before the engine starts"
        )
    for pod in document.pod_templates:
        for container in (*pod.containers(init=True), *pod.containers()):
            words = " ".join(str(word) for word in container.get("args") or [])
            if _TURNED_OFF.search(words):
                yield context.finding(
                    document,
                    f"container {container.get('name')!r} is told to skip the manifest of sizes and checksums",
                    path=pod.container_path(container, init=container in pod.containers(init=True)),
                    hint="stage the weights with a manifest and drop --no-manifest",
                )
