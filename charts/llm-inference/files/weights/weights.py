# ruff: noqa: INP001 - a script of its own, not part of a package
"""Bring the weights of one model revision to where an engine reads them, and prove that they are whole.

Needs Python 3.10, boto3 for s3:// and huggingface_hub for hf://; vLLM's image has all three.

Commands
  fetch     source -> directory. Resumes what an earlier run left, fetches corrupt and missing files again.
  populate  fetch under a lock, for volumes that several Jobs may fill; --clean removes other revisions after it.
  check     a directory against its completion mark, or an s3:// source against its manifest.
  stage     hf:// or file:// -> s3://, the manifest last.
  clean     removes the other revisions beside a complete directory.

Sources are s3://bucket/prefix, hf://organisation/name and (for stage) file:///directory. The endpoints come from
AWS_ENDPOINT_URL and HF_ENDPOINT, credentials from the usual places of boto3 and from HF_TOKEN.

Manifest: `weights-manifest.json` at the root of the s3:// prefix, written after everything it names:
  {"format": "weights-manifest/1", "source": "hf://...", "revision": "...", "filesSha256": "...",
   "files": [{"path": "...", "size": bytes, "sha256": "..."}]}
`files` is sorted by path; `filesSha256` is the sha256 of its compact JSON, so that an edited manifest is noticed.
--manifest-sha256 pins the file's bytes and with them every weight.

Completion mark: `.weights-complete.json` in the directory, written last, by rename. It names the source, the revision,
the manifest's sha256, and size, sha256 and modification time of every file: a later start compares only these.
A directory without a mark is never read by an engine.

Exit codes
   0  done                                  13  disk full or not writable
   2  wrong usage                           14  data do not match the manifest, also after the retries
  10  source, file or manifest not there    15  manifest malformed, edited, or of another revision
  11  credentials missing or refused        16  the volume cannot be locked
  12  endpoint not reachable               143  stopped by SIGTERM (state is kept, the next run resumes)
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import fnmatch
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import ssl
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

MANIFEST_NAME = "weights-manifest.json"
MANIFEST_FORMAT = "weights-manifest/1"
MARK_NAME = ".weights-complete.json"
MARK_FORMAT = "weights-complete/1"
#: Files of this directory that are already verified, one JSON line each: what a killed run need not read again.
JOURNAL_NAME = ".weights-verified.jsonl"
#: Unfinished files of this directory.
PARTIAL_NAME = ".weights-partial"

OK, USAGE, NOT_FOUND, DENIED, UNREACHABLE, DISK, CORRUPT, MANIFEST, LOCKED, TERMINATED = (
    0,
    2,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    143,
)

MEBIBYTE = 1024**2
#: One ranged request. Large enough to keep a connection busy, small enough to lose little when a run is killed.
PART_BYTES = 16 * MEBIBYTE
READ_BYTES = 4 * MEBIBYTE
LONGEST_PAUSE_SECONDS = 20.0
REPORT_SECONDS = 10.0
#: Faults that one message names; the rest are as many again of the same.
NAMED_FAULTS = 5


_T = TypeVar("_T")


class WeightsError(Exception):
    """A failure that the operator can act on; `code` is the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class MismatchError(Exception):
    """Data that do not match what the manifest says; worth another try."""


def say(message: str) -> None:
    """One line of progress, with the time."""
    print(f"{time.strftime('%H:%M:%S', time.gmtime())} {message}", flush=True)


# --- Manifest ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One file. `sha256` is empty where the source knows none; `git_blob` is the hub's hash of small files."""

    path: str
    size: int
    sha256: str = ""
    git_blob: str = ""

    def as_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return {"path": self.path, "size": self.size, "sha256": self.sha256}


@dataclass(frozen=True)
class Manifest:
    """What a revision consists of; `sha256` is that of the manifest file, or of the listing where there is none."""

    source: str
    revision: str
    entries: tuple[Entry, ...]
    sha256: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(each.size for each in self.entries)


def canonical(entries: Sequence[Entry]) -> str:
    """The compact JSON that `filesSha256` is taken of."""
    return json.dumps([each.as_json() for each in entries], separators=(",", ":"), sort_keys=True)


def encode_manifest(source: str, revision: str, entries: Sequence[Entry]) -> bytes:
    """The manifest as it is stored."""
    ordered = sorted(entries, key=lambda each: each.path)
    content = {
        "format": MANIFEST_FORMAT,
        "source": source,
        "revision": revision,
        "filesSha256": hashlib.sha256(canonical(ordered).encode()).hexdigest(),
        "files": [each.as_json() for each in ordered],
    }
    return json.dumps(content, indent=1).encode() + b"\n"


def decode_manifest(raw: bytes, where: str, *, revision: str = "", pinned: str = "") -> Manifest:
    """Read a manifest; raises WeightsError(MANIFEST) unless it is whole, of this revision, and the pinned one."""
    digest = hashlib.sha256(raw).hexdigest()
    if pinned and digest != pinned:
        raise WeightsError(
            MANIFEST,
            f"{where} has sha256 {digest}, but {pinned} is pinned: stage again or correct weights.manifestSha256",
        )
    try:
        content = json.loads(raw)
        if content["format"] != MANIFEST_FORMAT:
            raise WeightsError(
                MANIFEST, f"{where} has format {content['format']!r}; this script reads {MANIFEST_FORMAT!r}"
            )
        entries = tuple(Entry(str(each["path"]), int(each["size"]), str(each["sha256"])) for each in content["files"])
        found, expected = str(content["revision"]), str(content["filesSha256"])
        source = str(content.get("source", ""))
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(MANIFEST, f"{where} is no weights manifest ({error!r}): stage the weights again") from error
    if hashlib.sha256(canonical(entries).encode()).hexdigest() != expected:
        raise WeightsError(
            MANIFEST, f"{where} was changed after staging (filesSha256 does not match): stage the weights again"
        )
    if revision and found != revision:
        raise WeightsError(
            MANIFEST,
            f"{where} is of revision {found}, but {revision} is asked for: stage that revision, or set model.revision",
        )
    for each in entries:
        if not is_safe(each.path) or each.size < 0 or len(each.sha256) != hashlib.sha256().digest_size * 2:
            raise WeightsError(MANIFEST, f"{where} has an invalid entry for {each.path!r}: stage the weights again")
    if not entries:
        raise WeightsError(MANIFEST, f"{where} names no file: stage the weights again")
    return Manifest(source, found, entries, digest)


def is_safe(path: str) -> bool:
    """Whether a relative path stays inside the directory it is joined to and is none of our own files."""
    pure = PurePosixPath(path)
    return (
        bool(path) and not pure.is_absolute() and ".." not in pure.parts and not pure.parts[0].startswith(".weights-")
    )


def wanted(path: str, patterns: Sequence[str]) -> bool:
    """Whether a file is to be fetched: its path or its base name matches a pattern (no patterns: every file)."""
    if path == MANIFEST_NAME or not is_safe(path):
        return False
    return not patterns or any(
        fnmatch.fnmatch(path, each) or fnmatch.fnmatch(PurePosixPath(path).name, each) for each in patterns
    )


# --- Sources ----------------------------------------------------------------------------------------------------------


@dataclass
class Options:
    """What the command line says about transfers."""

    revision: str = ""
    include: tuple[str, ...] = ()
    retries: int = 5
    concurrency: int = 8
    timeout_seconds: int = 60
    pinned: str = ""
    use_manifest: bool = True
    #: Set when one transfer has failed for good: the others need not try again.
    stopping: threading.Event = field(default_factory=threading.Event)


def may_pass(error: Exception) -> bool:
    """Whether a failure may be gone at the next try."""
    return isinstance(error, MismatchError) or (isinstance(error, WeightsError) and error.code == UNREACHABLE)


def is_mismatch(error: Exception) -> bool:
    """Whether data were wrong; connections were tried again further down."""
    return isinstance(error, MismatchError)


def again(options: Options, what: str, attempt: Callable[[], _T], worth: Callable[[Exception], bool] = may_pass) -> _T:
    """Run `attempt`, and again after growing pauses while its failure is `worth` it; the last failure is raised."""
    tried = 1
    while True:
        try:
            return attempt()
        except (WeightsError, MismatchError) as error:
            if tried >= options.retries or not worth(error) or options.stopping.is_set():
                raise
            tried += 1
            pause = min(LONGEST_PAUSE_SECONDS, 0.25 * 2**tried) * random.uniform(0.5, 1)  # noqa: S311
            say(f"{what}: {error}; try {tried} of {options.retries} in {pause:.1f} s")
            options.stopping.wait(pause)


@contextlib.contextmanager
def s3_errors(what: str) -> Iterator[None]:
    """Turn what boto3 raises into a WeightsError."""
    from botocore import exceptions  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        yield
    except (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.TokenRetrievalError,
    ) as error:
        raise WeightsError(
            DENIED,
            f"{what}: no AWS credentials ({error}); give the pod's ServiceAccount a role (aws.identity) or a Secret",
        ) from error
    except exceptions.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = error.response.get("Error", {}).get("Code", "")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) or code in ("ExpiredToken", "InvalidToken"):
            raise WeightsError(
                DENIED, f"{what}: access refused ({code}); the role or key needs s3:GetObject and s3:ListBucket there"
            ) from error
        if status == HTTPStatus.NOT_FOUND:
            raise WeightsError(NOT_FOUND, f"{what}: not there ({code})") from error
        if status == HTTPStatus.PRECONDITION_FAILED:
            raise MismatchError(f"{what}: changed while it was read") from error
        raise WeightsError(UNREACHABLE, f"{what}: {error}") from error
    except (exceptions.ParamValidationError, exceptions.NoRegionError) as error:
        raise WeightsError(USAGE, f"{what}: {error}") from error
    except (exceptions.BotoCoreError, HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EFBIG,
            errno.EACCES,
            errno.EROFS,
        ):
            raise
        raise WeightsError(UNREACHABLE, f"{what}: {error or type(error).__name__}") from error


class S3:
    """A prefix in a bucket."""

    def __init__(self, uri: str, options: Options) -> None:
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        bucket, _, prefix = uri.removeprefix("s3://").strip("/").partition("/")
        if not bucket:
            raise WeightsError(USAGE, f"{uri!r} names no bucket: write s3://bucket/prefix")
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.options = options
        with s3_errors(self.uri):
            self.client = boto3.client(
                "s3",
                config=Config(
                    max_pool_connections=options.concurrency + 2,
                    connect_timeout=10,
                    read_timeout=options.timeout_seconds,
                    retries={"mode": "standard", "total_max_attempts": 2},
                    # Stores behind an endpoint URL know the bucket by path, not by host name.
                    s3={"addressing_style": "path" if os.environ.get("AWS_ENDPOINT_URL") else "auto"},
                ),
            )

    def manifest(self) -> Manifest:
        """The stored manifest, or, where none is wanted, one made of the listing (sizes only)."""
        if self.options.use_manifest:
            where = f"{self.uri}/{MANIFEST_NAME}"
            try:
                raw = again(self.options, where, lambda: self._read(MANIFEST_NAME))
            except WeightsError as error:
                if error.code == NOT_FOUND:
                    raise WeightsError(
                        NOT_FOUND,
                        f"{error}; stage the weights (weights.stage or `chartproof stage-weights`), "
                        "or set weights.verifyManifest: false",
                    ) from error
                raise
            found = decode_manifest(raw, where, revision=self.options.revision, pinned=self.options.pinned)
            if self.options.include:
                chosen = tuple(each for each in found.entries if wanted(each.path, self.options.include))
                if not chosen:
                    raise WeightsError(NOT_FOUND, f"{where}: no file matches {list(self.options.include)}")
                return Manifest(found.source, found.revision, chosen, found.sha256)
            return found
        listed = again(self.options, self.uri, self._list)
        entries = tuple(each for each in listed if wanted(each.path, self.options.include))
        if not entries:
            raise WeightsError(NOT_FOUND, f"{self.uri}: no object matches {list(self.options.include)}")
        return Manifest(
            self.uri, self.options.revision, entries, hashlib.sha256(canonical(entries).encode()).hexdigest()
        )

    def _read(self, path: str) -> bytes:
        with s3_errors(f"{self.uri}/{path}"):
            return bytes(self.client.get_object(Bucket=self.bucket, Key=self.prefix + path)["Body"].read())

    def _list(self) -> list[Entry]:
        found = []
        with s3_errors(self.uri):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix):
                for each in page.get("Contents", []):
                    path = each["Key"].removeprefix(self.prefix)
                    if path and not path.endswith("/"):
                        found.append(Entry(path, each["Size"]))
        return sorted(found, key=lambda each: each.path)

    def head(self, path: str) -> dict[str, Any]:
        """Size, ETag and metadata of one object."""
        with s3_errors(f"{self.uri}/{path}"):
            return dict(self.client.head_object(Bucket=self.bucket, Key=self.prefix + path))

    def version(self, entry: Entry) -> Version:
        """What the object is now."""
        head = self.head(entry.path)
        return Version(head["ETag"], head["ContentLength"])

    def part(self, entry: Entry, version: Version, start: int, end: int) -> Iterator[bytes]:
        """Bytes from `start` to before `end`."""
        what = f"{self.uri}/{entry.path}"
        with s3_errors(what):
            body = self.client.get_object(
                Bucket=self.bucket,
                Key=self.prefix + entry.path,
                Range=f"bytes={start}-{end - 1}",
                IfMatch=version.identity,
            )["Body"]
        while True:
            with s3_errors(what):
                chunk = body.read(READ_BYTES)
            if not chunk:
                return
            yield chunk

    def upload(self, local: Path, entry: Entry) -> None:
        """Store one file, with its sha256 in the object's metadata."""
        from boto3.s3.transfer import TransferConfig  # noqa: PLC0415

        config = TransferConfig(
            multipart_chunksize=64 * MEBIBYTE,
            multipart_threshold=64 * MEBIBYTE,
            max_concurrency=self.options.concurrency,
        )
        with s3_errors(f"{self.uri}/{entry.path}"):
            extra = {"Metadata": {"sha256": entry.sha256}}
            self.client.upload_file(str(local), self.bucket, self.prefix + entry.path, ExtraArgs=extra, Config=config)

    def put_manifest(self, raw: bytes) -> None:
        """Store the manifest."""
        with s3_errors(f"{self.uri}/{MANIFEST_NAME}"):
            self.client.put_object(
                Bucket=self.bucket, Key=self.prefix + MANIFEST_NAME, Body=raw, ContentType="application/json"
            )


@dataclass
class Version:
    """What a file is at its source: `identity` changes with its content; `address` may have to be asked for again."""

    identity: str
    size: int
    address: str = ""


def download(source: Source, entry: Entry, partial: Path, pool: ThreadPoolExecutor, progress: Progress) -> None:
    """Fill `partial` by ranged requests at once, skipping the parts that its journal says are there."""
    options = source.options
    what = f"{source.uri}/{entry.path}"
    version = again(options, what, lambda: source.version(entry))
    if version.size != entry.size:
        raise MismatchError(f"{what} has {version.size} bytes, {entry.size} are expected")
    journal = partial.with_name(partial.name + ".parts")
    identity = f"{version.identity} {entry.sha256 or entry.git_blob} {PART_BYTES}"
    done = _finished_parts(journal, identity) if partial.exists() else set()
    if not done:
        journal.write_text(identity + "\n", encoding="utf-8")
    parts = [index for index in range((entry.size + PART_BYTES - 1) // PART_BYTES) if index not in done]
    progress.add(entry.size - sum(min(PART_BYTES, entry.size - index * PART_BYTES) for index in parts))
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT, 0o644)
    lock = threading.Lock()

    def fetch(index: int) -> None:
        start = index * PART_BYTES
        end = min(start + PART_BYTES, entry.size)
        where = f"{what} bytes {start}-{end - 1}"
        again(
            options, where, lambda: _write_part(where, source.part(entry, version, start, end), descriptor, start, end)
        )
        with lock, journal.open("a", encoding="utf-8") as stream:
            stream.write(f"{index}\n")
        progress.add(end - start)

    try:
        os.ftruncate(descriptor, entry.size)
        futures = [pool.submit(fetch, index) for index in parts]
        finished, pending = wait(futures, return_when=FIRST_EXCEPTION)
        for each in pending:
            each.cancel()
        wait(pending)
        for each in finished:
            each.result()
    finally:
        os.close(descriptor)


def _write_part(what: str, chunks: Iterator[bytes], descriptor: int, start: int, end: int) -> None:
    position = start
    for chunk in chunks:
        view = memoryview(chunk)[: end - position]
        while view:
            written = os.pwrite(descriptor, view, position)
            position += written
            view = view[written:]
    if position != end:
        raise WeightsError(UNREACHABLE, f"{what}: the connection ended {end - position} bytes early")


def _finished_parts(journal: Path, identity: str) -> set[int]:
    try:
        head, *lines = journal.read_text(encoding="utf-8").split("\n")
    except OSError:
        return set()
    # The last line may be torn: a number without its line end is not trusted.
    return {int(line) for line in lines[:-1] if line.isdigit()} if head == identity else set()


@contextlib.contextmanager
def hub_errors(what: str) -> Iterator[None]:  # noqa: C901
    """Turn what huggingface_hub raises into a WeightsError."""
    from huggingface_hub import errors  # noqa: PLC0415

    advice = "for a gated model accept its terms and set engine.huggingFaceToken.existingSecret"
    try:
        yield
    except errors.LocalEntryNotFoundError as error:
        raise WeightsError(UNREACHABLE, f"{what}: {_first_line(error)}") from error
    except errors.GatedRepoError as error:
        raise WeightsError(DENIED, f"{what}: access refused; {advice}") from error
    except (errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise WeightsError(NOT_FOUND, f"{what}: not there: {_first_line(error)}") from error
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise WeightsError(DENIED, f"{what}: access refused or no such repository ({status}); {advice}") from error
        if status == HTTPStatus.NOT_FOUND:
            raise WeightsError(NOT_FOUND, f"{what}: not there: {_first_line(error)}") from error
        raise WeightsError(UNREACHABLE, f"{what}: {_first_line(error)}") from error
    except errors.HFValidationError as error:
        raise WeightsError(USAGE, f"{what}: {_first_line(error)}") from error
    except (WeightsError, MismatchError):
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        raise WeightsError(UNREACHABLE, f"{what}: {_first_line(error)}") from error
    except Exception as error:
        # The hub's HTTP library changed between its major versions, and with it the exceptions it lets through.
        raise WeightsError(UNREACHABLE, f"{what}: {type(error).__name__}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class Hub:
    """A repository on Hugging Face, or on a mirror that HF_ENDPOINT names."""

    def __init__(self, uri: str, options: Options) -> None:
        import certifi  # noqa: PLC0415
        import huggingface_hub  # noqa: PLC0415

        self.hub = huggingface_hub
        self.token = huggingface_hub.get_token()
        self.tls = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())
        self.uri = uri.rstrip("/")
        self.repository = self.uri.removeprefix("hf://")
        self.options = options
        if not options.revision:
            raise WeightsError(USAGE, f"{uri}: --revision is needed; a moving branch is no source of weights")

    def manifest(self) -> Manifest:
        """What the hub says the revision consists of, with its own hashes."""

        def ask() -> list[Entry]:
            with hub_errors(self.uri):
                info = self.hub.HfApi().model_info(
                    self.repository,
                    revision=self.options.revision,
                    files_metadata=True,
                    timeout=self.options.timeout_seconds,
                )
            return [
                Entry(
                    each.rfilename,
                    int(each.size or 0),
                    each.lfs.sha256 if each.lfs else "",
                    "" if each.lfs else str(each.blob_id or ""),
                )
                for each in info.siblings or []
                if wanted(each.rfilename, self.options.include)
            ]

        entries = tuple(sorted(again(self.options, self.uri, ask), key=lambda each: each.path))
        if not entries:
            raise WeightsError(
                NOT_FOUND, f"{self.uri} at {self.options.revision}: no file matches {list(self.options.include)}"
            )
        identity = json.dumps([[each.path, each.size, each.sha256 or each.git_blob] for each in entries])
        return Manifest(self.uri, self.options.revision, entries, hashlib.sha256(identity.encode()).hexdigest())

    def version(self, entry: Entry) -> Version:
        """What the file is, and the address that its content is at now: a signed one that ends after an hour."""
        with hub_errors(f"{self.uri}/{entry.path}"):
            found = self.hub.get_hf_file_metadata(
                self._address(entry), token=self.token or False, timeout=self.options.timeout_seconds
            )
        return Version(str(found.etag), int(found.size or 0), str(found.location))

    def part(self, entry: Entry, version: Version, start: int, end: int) -> Iterator[bytes]:
        """Bytes from `start` to before `end`, by plain HTTP: the hub's client resumes nothing of a killed run."""
        what = f"{self.uri}/{entry.path}"
        address = version.address
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity", "User-Agent": "weights.py"}
        if self.token and urlsplit(address).netloc == urlsplit(self._address(entry)).netloc:
            # The token is the hub's; the store it redirects to has its own signature in the address.
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(address, headers=headers)  # noqa: S310 - the hub says where its files are
        try:
            with urllib.request.urlopen(request, timeout=self.options.timeout_seconds, context=self.tls) as answer:  # noqa: S310
                if answer.status != HTTPStatus.PARTIAL_CONTENT and start > 0:
                    raise WeightsError(UNREACHABLE, f"{what}: {urlsplit(address).netloc} does not serve ranges")
                while chunk := answer.read(READ_BYTES):
                    yield chunk
        except urllib.error.HTTPError as error:
            if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                # The signed address has ended; where access has ended, asking for a new one says so.
                version.address = self.version(entry).address
            raise WeightsError(UNREACHABLE, f"{what}: {error}") from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            raise WeightsError(UNREACHABLE, f"{what}: {error}") from error

    def _address(self, entry: Entry) -> str:
        return str(self.hub.hf_hub_url(self.repository, entry.path, revision=self.options.revision))


class LocalDirectory:
    """A directory of weights, as a source of stage."""

    def __init__(self, uri: str, options: Options) -> None:
        self.uri = uri
        self.root = Path(uri.removeprefix("file://"))
        self.options = options
        if not self.root.is_dir():
            raise WeightsError(NOT_FOUND, f"{self.root} is no directory")

    def manifest(self) -> Manifest:
        """Its files; hashes are taken when each is uploaded."""
        entries = tuple(
            Entry(path.relative_to(self.root).as_posix(), path.stat().st_size)
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and wanted(path.relative_to(self.root).as_posix(), self.options.include)
        )
        if not entries:
            raise WeightsError(NOT_FOUND, f"{self.root}: no file matches {list(self.options.include)}")
        return Manifest(self.uri, self.options.revision, entries, "")


Source = S3 | Hub


def open_source(uri: str, options: Options) -> Source:
    """The source that a URI names."""
    if uri.startswith("s3://"):
        return S3(uri, options)
    if uri.startswith("hf://"):
        return Hub(uri, options)
    raise WeightsError(USAGE, f"{uri!r}: write s3://bucket/prefix or hf://organisation/name")


# --- A directory of weights -------------------------------------------------------------------------------------------


@dataclass
class Progress:
    """Bytes done of bytes to do, said every ten seconds."""

    total: int
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, size: int) -> None:
        """Count bytes."""
        with self.lock:
            self.done += size
            now = time.monotonic()
            if now - self.said < REPORT_SECONDS:
                return
            self.said = now
            rate = self.done / max(now - self.started, 0.001) / 1e6
            say(f"{self.done / 1e9:.2f} of {self.total / 1e9:.2f} GB, {rate:.0f} MB/s")


def digest_of(path: Path, entry: Entry) -> str:
    """sha256 of a file; MismatchError unless it and the size are the entry's (or the hub's blob hash is)."""
    size = path.stat().st_size
    if size != entry.size:
        raise MismatchError(f"{entry.path} has {size} bytes, not {entry.size}")
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(READ_BYTES), b""):
            sha256.update(chunk)
            if entry.git_blob:
                blob.update(chunk)
    if entry.sha256 and sha256.hexdigest() != entry.sha256:
        raise MismatchError(f"{entry.path} has sha256 {sha256.hexdigest()}, not {entry.sha256}")
    if not entry.sha256 and entry.git_blob and blob.hexdigest() != entry.git_blob:
        raise MismatchError(f"{entry.path} has git hash {blob.hexdigest()}, not {entry.git_blob}")
    return sha256.hexdigest()


def write_atomically(path: Path, content: str) -> None:
    """Write, make durable, rename: readers see all or nothing, also after a power cut."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames in a directory durable; file systems that cannot are left alone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_mark(directory: Path) -> dict[str, Any] | None:
    """The completion mark, or None where there is none that can be read."""
    try:
        mark = json.loads((directory / MARK_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) and mark.get("format") == MARK_FORMAT else None


def shortened(faults: Sequence[str]) -> str:
    """Faults in one line."""
    return "; ".join(faults[:NAMED_FAULTS]) + (" ..." if len(faults) > NAMED_FAULTS else "")


def mark_faults(directory: Path, mark: dict[str, Any]) -> list[str]:
    """What differs between a mark and the files it speaks of: missing files, other sizes, other modification times."""
    faults = []
    try:
        entries = [(str(each["path"]), int(each["size"]), int(each["modifiedNanoseconds"])) for each in mark["files"]]
    except (KeyError, TypeError, ValueError):
        return [f"{MARK_NAME} is damaged"]
    for path, size, modified in entries:
        try:
            stat = (directory / path).stat()
        except OSError:
            faults.append(f"{path} is missing")
            continue
        if stat.st_size != size:
            faults.append(f"{path} has {stat.st_size} bytes, not {size}")
        elif stat.st_mtime_ns != modified:
            faults.append(f"{path} was modified")
    return faults


def read_journal(directory: Path) -> dict[str, dict[str, Any]]:
    """Files that an earlier run has verified, by path."""
    found = {}
    try:
        lines = (directory / JOURNAL_NAME).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            each = json.loads(line)
            found[each["path"]] = each
    return found


def fetch(uri: str, directory: Path, options: Options) -> None:
    """Make `directory` hold exactly what the source's revision says, and mark it complete."""
    mark = _usable_mark(uri, directory, options)
    try:
        source = open_source(uri, options)
        if mark is not None and isinstance(source, Hub):
            # A commit never changes: nothing to ask.
            say(f"{directory} is complete")
            return
        manifest = source.manifest()
    except WeightsError as error:
        # What was verified at this very revision needs no source: a restart while the store is down goes on.
        if mark is not None and error.code in (UNREACHABLE, DENIED):
            say(f"warning: {error}; {directory} is complete at revision {options.revision}")
            return
        raise
    if mark is not None and mark.get("manifestSha256") == manifest.sha256:
        say(f"{directory} is complete ({len(manifest.entries)} files, {manifest.size / 1e9:.2f} GB)")
        return

    directory.mkdir(parents=True, exist_ok=True)
    (directory / MARK_NAME).unlink(missing_ok=True)
    sync_directory(directory)
    partials = directory / PARTIAL_NAME
    partials.mkdir(exist_ok=True)
    verified = _verify_present(directory, manifest)
    missing = [each for each in manifest.entries if each.path not in verified]
    _check_space(directory, missing, partials)
    say(
        f"fetching {len(missing)} of {len(manifest.entries)} files, "
        f"{sum(each.size for each in missing) / 1e9:.2f} GB, from {uri}"
    )
    progress = Progress(sum(each.size for each in missing))
    # Two pools: a file's thread waits for the threads of its parts.
    with ThreadPoolExecutor(options.concurrency) as parts, ThreadPoolExecutor(options.concurrency) as files:
        futures = {files.submit(_fetch_file, source, each, directory, parts, progress): each for each in missing}
        finished, pending = wait(futures, return_when=FIRST_EXCEPTION)
        for future in pending:
            future.cancel()
        failure = next((future.exception() for future in finished if future.exception()), None)
        if failure is not None:
            options.stopping.set()
            parts.shutdown(wait=False, cancel_futures=True)
            raise failure
        for future in finished:
            verified[futures[future].path] = future.result()
    shutil.rmtree(partials, ignore_errors=True)
    _write_mark(uri, directory, manifest, verified, options)
    say(
        f"{directory} is complete ({len(manifest.entries)} files, {manifest.size / 1e9:.2f} GB, "
        f"{time.monotonic() - progress.started:.1f} s)"
    )


def _usable_mark(uri: str, directory: Path, options: Options) -> dict[str, Any] | None:
    """The mark of a directory that holds just what is asked for, else None."""
    mark = read_mark(directory)
    if mark is None or mark_faults(directory, mark):
        return None
    asked = (uri.rstrip("/"), options.revision, list(options.include))
    if (mark.get("source"), mark.get("revision"), mark.get("include")) != asked:
        return None
    return None if options.pinned and mark.get("manifestSha256") != options.pinned else mark


def _verify_present(directory: Path, manifest: Manifest) -> dict[str, str]:
    """Files that are already there and right, with their sha256; wrong ones are removed."""
    journal = read_journal(directory)
    verified = {}
    for entry in manifest.entries:
        path = directory / entry.path
        if not path.is_file():
            continue
        stat = path.stat()
        known = journal.get(entry.path, {})
        if (
            (known.get("size"), known.get("modifiedNanoseconds")) == (stat.st_size, stat.st_mtime_ns)
            and stat.st_size == entry.size
            and known.get("sha256")
            and entry.sha256 in ("", known["sha256"])
            and known.get("gitBlob", "") == entry.git_blob
        ):
            verified[entry.path] = str(known["sha256"])
            continue
        try:
            verified[entry.path] = digest_of(path, entry)
        except MismatchError as error:
            say(f"{error}: fetching it again")
            path.unlink()
    return verified


def _check_space(directory: Path, missing: Sequence[Entry], partials: Path) -> None:
    present = sum(path.stat().st_blocks * 512 for path in partials.rglob("*") if path.is_file())
    needed = sum(each.size for each in missing) - present
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise WeightsError(
            DISK, f"{directory} has {free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB are needed: enlarge the volume"
        )


def _fetch_file(source: Source, entry: Entry, directory: Path, pool: ThreadPoolExecutor, progress: Progress) -> str:
    """Fetch one file until it is right, put it in place, note it; returns its sha256."""
    partial = directory / PARTIAL_NAME / hashlib.sha256(entry.path.encode()).hexdigest()[:24]
    options = source.options

    def attempt() -> str:
        download(source, entry, partial, pool, progress)
        try:
            return digest_of(partial, entry)
        except MismatchError:
            for each in partial.parent.glob(partial.name + "*"):
                shutil.rmtree(each, ignore_errors=True) if each.is_dir() else each.unlink(missing_ok=True)
            raise

    try:
        sha256 = str(again(options, entry.path, attempt, worth=is_mismatch))
    except MismatchError as error:
        raise WeightsError(
            CORRUPT, f"{error}, also after {options.retries} tries: the source holds bad data; stage the weights again"
        ) from error
    final = directory / entry.path
    final.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("rb+") as content:
        os.fsync(content.fileno())
    partial.replace(final)
    partial.with_name(partial.name + ".parts").unlink(missing_ok=True)
    stat = final.stat()
    line = {
        "path": entry.path,
        "size": stat.st_size,
        "modifiedNanoseconds": stat.st_mtime_ns,
        "sha256": sha256,
        "gitBlob": entry.git_blob,
    }
    with (directory / JOURNAL_NAME).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
    return sha256


def _write_mark(uri: str, directory: Path, manifest: Manifest, verified: dict[str, str], options: Options) -> None:
    files = []
    for entry in manifest.entries:
        stat = (directory / entry.path).stat()
        files.append(
            {
                "path": entry.path,
                "size": stat.st_size,
                "sha256": verified[entry.path],
                "modifiedNanoseconds": stat.st_mtime_ns,
            }
        )
        sync_directory((directory / entry.path).parent)
    mark = {
        "format": MARK_FORMAT,
        "source": uri.rstrip("/"),
        "revision": manifest.revision,
        "include": list(options.include),
        "manifestSha256": manifest.sha256,
        "files": files,
    }
    write_atomically(directory / MARK_NAME, json.dumps(mark, indent=1) + "\n")


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Hold the lock of a revision; a second Job waits. The lock ends with its process, also when that is killed."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f".weights-{directory.name}.lock").open("a", encoding="utf-8") as stream:
        waiting = False
        while True:
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise WeightsError(
                        LOCKED,
                        f"{directory.parent} cannot be locked ({error}): "
                        "mount it with file locks (NFS 4, Lustre with flock)",
                    ) from error
            if not waiting:
                say(f"another Job fills {directory}: waiting for it")
                waiting = True
            time.sleep(1)
        yield


def check_directory(directory: Path, options: Options, wait_seconds: float) -> None:
    """Raise unless the directory is complete at the revision; wait for it up to `wait_seconds`."""
    deadline = time.monotonic() + wait_seconds
    said = False
    while True:
        mark = read_mark(directory)
        if mark is not None:
            break
        if time.monotonic() >= deadline:
            raise WeightsError(
                NOT_FOUND, f"{directory} has no completion mark: the Job that fills it has not finished (see its log)"
            )
        if not said:
            say(f"{directory} is not complete yet: waiting up to {wait_seconds:.0f} s")
            said = True
        time.sleep(min(2.0, max(0.05, deadline - time.monotonic())))
    if mark.get("revision") != options.revision:
        raise WeightsError(MANIFEST, f"{directory} holds revision {mark.get('revision')}, not {options.revision}")
    if options.pinned and mark.get("manifestSha256") != options.pinned:
        raise WeightsError(
            MANIFEST, f"{directory} was filled by manifest {mark.get('manifestSha256')}, but {options.pinned} is pinned"
        )
    faults = mark_faults(directory, mark)
    if faults:
        raise WeightsError(
            CORRUPT,
            f"{directory}: {shortened(faults)}: run the populate Job again",
        )
    say(f"{directory} is complete ({len(mark['files'])} files)")


def check_source(uri: str, options: Options) -> None:
    """Raise unless every object that the manifest names is there, with its size and (where stored) its sha256."""
    source = open_source(uri, options)
    if not isinstance(source, S3):
        raise WeightsError(USAGE, f"{uri}: only s3:// sources have a manifest to check")
    manifest = source.manifest()

    def look(entry: Entry) -> str:
        try:
            head = again(options, entry.path, lambda: source.head(entry.path))
        except WeightsError as error:
            if error.code == NOT_FOUND:
                return f"{entry.path} is missing"
            raise
        stored = head.get("Metadata", {}).get("sha256", entry.sha256)
        if head["ContentLength"] != entry.size:
            return f"{entry.path} has {head['ContentLength']} bytes, not {entry.size}"
        return f"{entry.path} has sha256 {stored}, not {entry.sha256}" if stored != entry.sha256 else ""

    with ThreadPoolExecutor(options.concurrency) as pool:
        faults = [each for each in pool.map(look, manifest.entries) if each]
    if faults:
        raise WeightsError(CORRUPT, f"{uri}: {shortened(faults)}: stage the weights again")
    say(f"{uri} is complete ({len(manifest.entries)} objects, {manifest.size / 1e9:.2f} GB)")


def stage(uri: str, target: str, options: Options) -> str:
    """Copy hub or directory to a bucket, the manifest last, and return its sha256; what is stored is not sent again."""
    if not options.revision:
        raise WeightsError(USAGE, "stage needs --revision")
    source: Source | LocalDirectory = (
        LocalDirectory(uri, options) if uri.startswith("file://") else open_source(uri, options)
    )
    if isinstance(source, S3):
        raise WeightsError(USAGE, f"{uri}: stage reads hf:// or file://")
    if not target.startswith("s3://"):
        raise WeightsError(USAGE, f"{target!r}: stage writes to s3://bucket/prefix")
    store = S3(
        target,
        Options(
            revision="",
            retries=options.retries,
            concurrency=options.concurrency,
            timeout_seconds=options.timeout_seconds,
        ),
    )
    try:
        present = store.manifest()
    except WeightsError as error:
        if error.code != NOT_FOUND:
            raise
    else:
        if present.revision != options.revision:
            raise WeightsError(
                MANIFEST, f"{target} holds revision {present.revision}: give each revision a prefix of its own"
            )
    manifest = source.manifest()
    say(f"staging {len(manifest.entries)} files, {manifest.size / 1e9:.2f} GB, to {target}")
    progress = Progress(manifest.size)
    with (
        tempfile.TemporaryDirectory(prefix="weights-") as room,
        ThreadPoolExecutor(options.concurrency) as pool,
    ):

        def bring(entry: Entry) -> tuple[Path, str]:
            if isinstance(source, LocalDirectory):
                local = source.root / entry.path
                return local, digest_of(local, entry)
            return _bring(source, entry, Path(room), pool, progress)

        entries = [_stage_file(store, each, bring) for each in manifest.entries]
    raw = encode_manifest(manifest.source, options.revision, entries)
    store.put_manifest(raw)
    digest = hashlib.sha256(raw).hexdigest()
    say(f"{target} is complete; weights.manifestSha256: {digest}")
    return digest


def _bring(source: Hub, entry: Entry, room: Path, pool: ThreadPoolExecutor, progress: Progress) -> tuple[Path, str]:
    """Fetch one file to local disk; returns where it is, and its sha256."""
    local = room / "file"
    local.unlink(missing_ok=True)
    free = shutil.disk_usage(room).free
    if entry.size > free:
        raise WeightsError(
            DISK,
            f"{room} has {free / 1e9:.2f} GB free, {entry.path} needs {entry.size / 1e9:.2f} GB: "
            "enlarge it, or set TMPDIR",
        )

    def attempt() -> str:
        download(source, entry, local, pool, progress)
        try:
            return digest_of(local, entry)
        except MismatchError:
            local.unlink()
            raise

    try:
        return local, again(source.options, entry.path, attempt, worth=is_mismatch)
    except MismatchError as error:
        raise WeightsError(CORRUPT, f"{error}, also after {source.options.retries} tries") from error


def _stage_file(store: S3, entry: Entry, bring: Callable[[Entry], tuple[Path, str]]) -> Entry:
    """Store one file, unless it is there; returns the manifest's entry."""
    if entry.sha256 and _is_stored(store, entry):
        say(f"{entry.path} is already stored")
        return entry
    local, sha256 = bring(entry)
    found = Entry(entry.path, entry.size, sha256)
    if _is_stored(store, found):
        say(f"{entry.path} is already stored")
        return found
    again(store.options, entry.path, lambda: store.upload(local, found))
    say(f"{entry.path} stored ({entry.size / 1e9:.2f} GB)")
    return found


def _is_stored(store: S3, entry: Entry) -> bool:
    try:
        head = store.head(entry.path)
    except WeightsError as error:
        if error.code == NOT_FOUND:
            return False
        raise
    return bool(head["ContentLength"] == entry.size and head.get("Metadata", {}).get("sha256") == entry.sha256)


def clean(directory: Path, options: Options) -> None:
    """Remove the other revisions beside a complete directory; only directories that this script filled."""
    check_directory(directory, options, 0)
    for other in sorted(directory.parent.iterdir()):
        ours = any((other / name).exists() for name in (MARK_NAME, JOURNAL_NAME, PARTIAL_NAME))
        if other == directory or other.is_symlink() or not other.is_dir() or not ours:
            continue
        # The mark goes first: a directory that is half removed must not pass for a whole one.
        (other / MARK_NAME).unlink(missing_ok=True)
        shutil.rmtree(other)
        say(f"removed revision {other.name}")


# --- Command line -----------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    transfer = argparse.ArgumentParser(add_help=False)
    transfer.add_argument("--revision", default="")
    transfer.add_argument("--include", action="append", default=[], metavar="PATTERN")
    transfer.add_argument("--retries", type=_positive, default=5)
    transfer.add_argument("--concurrency", type=_positive, default=8)
    transfer.add_argument("--timeout-seconds", type=_positive, default=60)
    strict = argparse.ArgumentParser(add_help=False)
    strict.add_argument("--manifest-sha256", default="")
    strict.add_argument("--no-manifest", action="store_true")
    top = argparse.ArgumentParser(
        prog="weights.py", allow_abbrev=False, description="Fetch, verify and stage model weights."
    )
    commands = top.add_subparsers(dest="command", required=True)
    for name in ("fetch", "populate"):
        each = commands.add_parser(name, parents=[transfer, strict], allow_abbrev=False)
        each.add_argument("--source", required=True)
        each.add_argument("--directory", required=True, type=Path)
        if name == "populate":
            each.add_argument("--clean", action="store_true")
    check = commands.add_parser("check", parents=[transfer, strict], allow_abbrev=False)
    where = check.add_mutually_exclusive_group(required=True)
    where.add_argument("--source")
    where.add_argument("--directory", type=Path)
    check.add_argument("--wait-seconds", type=float, default=0.0)
    staging = commands.add_parser("stage", parents=[transfer], allow_abbrev=False)
    staging.add_argument("--source", required=True)
    staging.add_argument("--target", required=True)
    cleaning = commands.add_parser("clean", parents=[transfer], allow_abbrev=False)
    cleaning.add_argument("--directory", required=True, type=Path)
    return top


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def run(arguments: argparse.Namespace) -> None:
    """Run one command; raises WeightsError, or OSError for trouble with the disk."""
    options = Options(
        revision=arguments.revision,
        include=tuple(arguments.include),
        retries=arguments.retries,
        concurrency=arguments.concurrency,
        timeout_seconds=arguments.timeout_seconds,
        pinned=getattr(arguments, "manifest_sha256", ""),
        use_manifest=not getattr(arguments, "no_manifest", False),
    )
    if arguments.command == "fetch":
        fetch(arguments.source, arguments.directory, options)
    elif arguments.command == "populate":
        with lock(arguments.directory):
            fetch(arguments.source, arguments.directory, options)
            if arguments.clean:
                clean(arguments.directory, options)
    elif arguments.command == "check" and arguments.source:
        check_source(arguments.source, options)
    elif arguments.command == "check":
        check_directory(arguments.directory, options, arguments.wait_seconds)
    elif arguments.command == "stage":
        stage(arguments.source, arguments.target, options)
    else:
        clean(arguments.directory, options)


def stop(_signal: int, _frame: object) -> NoReturn:
    """End at once: every state on disk is one that the next run resumes from."""
    os.write(2, b"stopped by SIGTERM; the next run resumes\n")
    os._exit(TERMINATED)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = parser().parse_args(words)
    signal.signal(signal.SIGTERM, stop)
    try:
        run(arguments)
    except WeightsError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.code
    except ImportError as error:
        print(f"error: {error}: weights.downloader.image needs boto3 and huggingface_hub", file=sys.stderr, flush=True)
        return USAGE
    except OSError as error:
        advice = (
            "enlarge the volume"
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            else "check the volume and the container's uid"
        )
        print(f"error: {error}: {advice}", file=sys.stderr, flush=True)
        return DISK
    return OK


if __name__ == "__main__":
    sys.exit(main())
