"""How many connections this process may have open at once."""

from __future__ import annotations

import resource

_WANTED = 65536


def allow_many_connections() -> None:
    """Raise the process' own limit of open files as far as it may: each connection is one.

    Shells often start programs with 1024, which a burst of held requests exceeds.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
