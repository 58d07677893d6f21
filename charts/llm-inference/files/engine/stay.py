# ruff: noqa: INP001 - a script of its own, not part of a package
"""Before a worker of a group is told to stop: wait while its leader answers, which computes with it until then.

Arguments: the port of the leader's server, the port where the group meets, the most seconds to wait.
"""

import os
import socket
import sys
import time
from pathlib import Path


def leader(meeting: int) -> str:
    """Address of the leader by its name; once the group's Service is gone, by whom the engine has met; else empty."""
    try:
        return socket.gethostbyname(os.environ["LWS_LEADER_ADDRESS"])
    except OSError:
        pass
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
            address, _, port = line.split()[2].partition(":")
            if int(port, 16) == meeting:
                # The last four bytes, in the machine's order: an IPv4 address, also where it is mapped into IPv6.
                return socket.inet_ntoa(bytes.fromhex(address[-8:])[::-1])
    return ""


def main() -> None:
    """Return once the leader's server is gone, or after the time."""
    port, meeting, seconds = map(int, sys.argv[1:])
    end = time.monotonic() + seconds
    address = leader(meeting)
    while address and time.monotonic() < end:
        try:
            socket.create_connection((address, port), 2).close()
        except OSError:
            return
        time.sleep(1)


main()
