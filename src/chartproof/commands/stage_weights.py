"""`chartproof stage-weights`: put a model's weights and their manifest into a bucket."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from chartproof.errors import ExitCode


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "stage-weights",
        help="copy weights from Hugging Face or a directory to S3 and write their manifest",
        description="Copy one revision of a model to S3, verify it on the way, and write the manifest that every "
        "delivery of the chart checks. What is stored already is not sent again. Prints the values to set.",
        epilog="Credentials are taken as the AWS command line takes them; HF_TOKEN opens gated models.",
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="SOURCE", help="repository on Hugging Face (organisation/name), or directory")
    parser.add_argument("target", metavar="TARGET", help="s3://bucket/prefix, one prefix for each revision")
    parser.add_argument("--revision", required=True, help="commit of the weights; the chart's model.revision")
    parser.add_argument(
        "--include",
        action="append",
        metavar="PATTERN",
        help="files to copy (repeatable); default: weights, configuration, tokenizer",
    )
    parser.add_argument("--endpoint-url", default="", metavar="URL", help="S3-compatible store; default: Amazon S3")
    parser.add_argument("--region", default="", help="region of the bucket; default: the AWS configuration's")
    parser.add_argument("--concurrency", type=_positive, default=8, metavar="N", help="parts sent at once (default: 8)")
    parser.add_argument("--retries", type=_positive, default=5, metavar="N", help="tries of one file (default: 5)")
    parser.add_argument(
        "--timeout-seconds", type=_positive, default=60, metavar="N", help="wait for data (default: 60)"
    )
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Stage, and print the values that point the chart at the result."""
    from chartproof.stage import DEFAULT_PATTERNS, Staging, stage  # noqa: PLC0415

    digest = stage(
        Staging(
            source=arguments.source,
            target=arguments.target,
            revision=arguments.revision,
            patterns=tuple(arguments.include or DEFAULT_PATTERNS),
            retries=arguments.retries,
            concurrency=arguments.concurrency,
            timeout_seconds=arguments.timeout_seconds,
            endpoint_url=arguments.endpoint_url,
            region=arguments.region,
        )
    )
    sys.stdout.write(
        f"model:\n  revision: {arguments.revision}\n"
        f"weights:\n  source:\n    type: s3\n    s3:\n      uri: {arguments.target.rstrip('/')}\n"
        f"  manifestSha256: {digest}\n"
    )
    return ExitCode.CLEAN


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
