"""Small weights, the bucket they are in, and the rendered script as a process."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BUCKET = "weights"
PREFIX = "model"
REVISION = "a09a35458c702b33eeacc393d103063234e8bc28"
#: Small files, one of them of several ranged requests.
FILES: Mapping[str, int] = {
    "config.json": 700,
    "model-00001-of-00002.safetensors": 40 * 1024 * 1024 + 13,
    "model-00002-of-00002.safetensors": 300_000,
    "tokenizer/tokenizer.json": 9000,
}


def content(name: str, seed: int = 0) -> bytes:
    """The bytes of a file: the same for the same name and seed."""
    return random.Random(f"{name}/{seed}").randbytes(FILES[name])  # noqa: S311


@dataclass
class Store:
    """An S3 server with one bucket."""

    endpoint: str
    client: Any

    def put(self, path: str, body: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{path}", Body=body)

    def delete(self, path: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=f"{PREFIX}/{path}")

    def get(self, path: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=f"{PREFIX}/{path}")["Body"].read())

    def names(self) -> set[str]:
        listing = self.client.list_objects_v2(Bucket=BUCKET)
        return {each["Key"].removeprefix(f"{PREFIX}/") for each in listing.get("Contents", [])}


@dataclass
class Script:
    """The rendered script with the words and variables of one rendered container."""

    path: Path
    words: tuple[str, ...]
    environment: dict[str, str]
    #: Where the container's /weights is here.
    root: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        return Path(self.words[self.words.index("--directory") + 1])

    @property
    def mark(self) -> Path:
        return self.directory / ".weights-complete.json"

    def start(self, *further: str, words: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(self.path), *(words or self.words), *further],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, *further: str, words: Sequence[str] = (), **environment: str) -> tuple[int, str]:
        """Exit code and everything it said."""
        process = self.start(*further, words=words, **environment)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def files(self) -> dict[str, bytes]:
        """Weights that are in place."""
        return {name: (self.directory / name).read_bytes() for name in FILES if (self.directory / name).exists()}


RunContainer = Callable[..., Script]


def manifest_of(files: Mapping[str, bytes], revision: str = REVISION) -> bytes:
    """A manifest as staging writes it, made here without the script."""
    entries = [
        {"path": path, "sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}
        for path, body in sorted(files.items())
    ]
    canonical = json.dumps(entries, separators=(",", ":"), sort_keys=True)
    document = {
        "format": "weights-manifest/1",
        "source": "hf://Qwen/Qwen2.5-7B-Instruct",
        "revision": revision,
        "filesSha256": hashlib.sha256(canonical.encode()).hexdigest(),
        "files": entries,
    }
    return json.dumps(document).encode()


def s3_values(endpoint: str, **weights: Any) -> dict[str, Any]:
    """Values of a model whose weights are in the local store."""
    return {
        "weights": {
            "delivery": "initDownload",
            "retries": 2,
            "source": {
                "type": "s3",
                "s3": {
                    "uri": f"s3://{BUCKET}/{PREFIX}",
                    "region": "us-east-1",
                    "endpointUrl": endpoint,
                    "existingSecret": "store",
                },
            },
            **weights,
        }
    }


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def finished_large_parts(directory: Path) -> list[Path]:
    """Journals of unfinished large files that have at least one part."""
    return [
        journal
        for journal in (directory / ".weights-partial").glob("*.parts")
        if journal.with_suffix("").exists()
        and journal.with_suffix("").stat().st_size > 10**7
        and len(journal.read_text().splitlines()) > 1
    ]
