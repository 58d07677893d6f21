"""Keeps a cluster running until killed: `python -m chartproof.cluster.supervisor DIRECTORY`; returns at once."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from chartproof.cluster.supervisor.keeper import Supervisor, adopted
from chartproof.cluster.supervisor.state import read_list

if __name__ == "__main__":
    if os.fork():
        # The parent leaves at once, so that init, and not the caller, reaps what goes on here.
        os._exit(0)
    os.setsid()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    directory = Path(sys.argv[1])
    asyncio.run(Supervisor(directory, read_list(directory), adopted(directory)).run())
