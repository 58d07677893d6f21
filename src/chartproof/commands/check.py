"""`chartproof check`: schemas and rules over what would be deployed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chartproof import inputs
from chartproof.errors import ExitCode, InputError
from chartproof.findings import Severity

if TYPE_CHECKING:
    from chartproof.check import Result


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "check",
        help="validate presets, charts or manifests against schemas and rules",
        description="Validate what would be deployed: every document by two schema engines, every release by the "
        "rules. Presets are rendered first; manifests of any origin are taken as they are.",
        allow_abbrev=False,
    )
    inputs.add_arguments(parser)
    report = parser.add_argument_group("report")
    report.add_argument(
        "--fail-on",
        choices=("error", "warning", "note"),
        default="error",
        help="exit with 1 for findings of this severity or above (default: error)",
    )
    report.add_argument("--exit-zero", action="store_true", help="exit with 0 whatever is found")
    report.add_argument(
        "--format",
        choices=("text", "json", "sarif", "junit", "github"),
        default="text",
        help="default: text; sarif is for code scanning, junit for test reports, github for a workflow's annotations",
    )
    report.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the report there; default: stdout")
    report.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="default: auto, which honours NO_COLOR"
    )
    rules = parser.add_argument_group("rules")
    rules.add_argument(
        "--select",
        action="append",
        default=[],
        metavar="LLM###",
        help="only these rules; an id, the start of one, or a name",
    )
    rules.add_argument(
        "--ignore", action="append", default=[], metavar="LLM###", help="not these rules; both take commas and repeat"
    )
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Check the inputs, report, and say by the exit code how it went."""
    from chartproof import check  # noqa: PLC0415  (rules and parsers are loaded only where they are run)

    selected = check.select(_words(arguments.select), _words(arguments.ignore))
    loaded = inputs.load(arguments)
    for failure in loaded.failures:
        print(f"error: {failure.error}", file=sys.stderr)
    result = check.check(loaded.releases, selected=selected, failures=loaded.failures)
    threshold = Severity[arguments.fail_on.upper()]
    _write(_report(result, threshold, arguments), arguments.output)
    if result.failures:
        return ExitCode.COULD_NOT_RUN
    if result.fails(threshold) and not arguments.exit_zero:
        return ExitCode.FINDINGS
    return ExitCode.CLEAN


def _report(result: Result, threshold: Severity, arguments: argparse.Namespace) -> str:
    from chartproof.report import github_report, json_report, junit_report, sarif_report, text  # noqa: PLC0415
    from chartproof.report.terminal import Paint, paint_for  # noqa: PLC0415

    match arguments.format:
        case "json":
            return json_report.render(result)
        case "sarif":
            return sarif_report.render(result)
        case "junit":
            return junit_report.render(result, threshold)
        case "github":
            return github_report.render(result)
    paint = Paint(arguments.color == "always") if arguments.output else paint_for(sys.stdout, arguments.color)
    return text.render(result, paint)


def _words(given: list[str]) -> list[str]:
    """Words of a repeatable option that also takes commas."""
    return [word.strip() for each in given for word in each.split(",") if word.strip()]


def _write(report: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(report)
        return
    try:
        output.write_text(report, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"the report cannot be written: {error.strerror}",
            where=str(output),
            how="name a file in an existing directory",
        ) from error
