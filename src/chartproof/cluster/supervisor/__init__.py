"""The process that keeps a live cluster's processes running, and how others see and disturb them.

    python -m chartproof.cluster.supervisor DIRECTORY

It starts what `<directory>/processes.json` lists and takes over the control plane that kwokctl started, whose command
lines and environments it reads from /proc. How it stands is in `<directory>/supervisor.json`, for `cluster status`.
"""

from __future__ import annotations

from chartproof.cluster.supervisor.state import ProcessStatus, hold, kill, read_list, release, status, write_list

__all__ = ["ProcessStatus", "hold", "kill", "read_list", "release", "status", "write_list"]
