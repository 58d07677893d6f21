"""`chartproof aws-prerequisites`: what must exist in the AWS account before a release works."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from chartproof import inputs
from chartproof.errors import ExitCode


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "aws-prerequisites",
        help="what must exist in the AWS account before a release works",
        description="Derive from the rendered manifests what a release needs in an AWS account: roles and policies of "
        "ServiceAccounts that use S3, VPC endpoints, pull-through caches, roles and tags of nodes, the interruption "
        "queue, EC2 quotas in vCPUs, storage drivers, Secrets. Nothing is asked of AWS and nothing is changed; what "
        "is not said stays a placeholder such as <ACCOUNT_ID>.",
        allow_abbrev=False,
    )
    inputs.add_arguments(parser)
    account = parser.add_argument_group("account")
    account.add_argument("--account", metavar="ID", help="number of the AWS account, 12 digits")
    account.add_argument("--cluster", metavar="NAME", help="name of the EKS cluster")
    account.add_argument("--region", metavar="REGION", help="region of the cluster, such as eu-central-1")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="also write policies and manifests as files, a directory per release"
    )
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print the prerequisites. Raises UsageError for an account, cluster or region that cannot be one."""
    from chartproof.aws import account, directory  # noqa: PLC0415  (reads the catalog)
    from chartproof.aws.target import Target  # noqa: PLC0415
    from chartproof.report import aws_report  # noqa: PLC0415

    target = Target.of(account=arguments.account, cluster=arguments.cluster, region=arguments.region)
    described = [account.describe(release, target) for release in inputs.load(arguments).require_all()]
    if arguments.out is not None:
        written = directory.write(arguments.out, {each["release"]: account.files(each) for each in described})
        print(f"wrote {len(written)} files; run the commands in {arguments.out}/<release>", file=sys.stderr)
    if arguments.format == "json":
        sys.stdout.write(json.dumps({"prerequisites": described}, indent=2, ensure_ascii=False) + "\n")
    else:
        pages = [aws_report.text(each) for each in described]
        sys.stdout.write("\n".join(page for page in (*pages, aws_report.placeholders(described)) if page))
    return ExitCode.CLEAN
