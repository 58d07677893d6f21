"""Everything that can go wrong on purpose, and the exit code each ends with.

Exit codes of the `chartproof` command: 0 clean, 1 findings at or above `--fail-on`,
2 wrong usage, 3 could not run. Only this module and `cli.main` know them.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The documented exit codes of every chartproof command."""

    CLEAN = 0
    FINDINGS = 1
    USAGE = 2
    COULD_NOT_RUN = 3


class ChartproofError(Exception):
    """A failure that the user can act on.

    `what` says what is wrong, `where` names the file, key or object (may be empty), `how` says
    how to fix it (may be empty). Printed as one message; never with a traceback.
    """

    exit_code = ExitCode.COULD_NOT_RUN

    def __init__(self, what: str, *, where: str = "", how: str = "") -> None:
        self.what = what
        self.where = where
        self.how = how
        super().__init__(what)

    def __str__(self) -> str:
        """Render as `where: what` with the remedy on a line of its own."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  fix: {self.how}" if self.how else head


class UsageError(ChartproofError):
    """The command line asks for something that does not exist or contradicts itself."""

    exit_code = ExitCode.USAGE


class InputError(ChartproofError):
    """A file, stream or preset that cannot be read, is too large, or is not what it claims to be."""


class RenderError(ChartproofError):
    """Helm refused to render: broken values, a contradiction found by the chart, a broken chart."""


class ToolchainError(ChartproofError):
    """A program that is needed is missing, unsuitable or could not be built."""


class ClusterError(ChartproofError):
    """The embedded cluster could not be started, or did not do what was asked in time."""
