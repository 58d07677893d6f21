"""What a node is beside its object: the images it has, and the addresses of its pods."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from chartproof.release import dig

Body = Mapping[str, Any]

#: Where pods get their addresses; nothing outside this process knows it.
ADDRESSES = IPv4Network("10.64.0.0/16")


class Machine:
    """What a node remembers beside its object: the images it has, and whether it still runs."""

    def __init__(self, node: Body) -> None:
        self.node = node
        self.is_lost = False
        self.images: set[str] = set()
        self._pulls: dict[str, asyncio.Task[None]] = {}

    @property
    def name(self) -> str:
        """Name of the node."""
        return str(self.node["metadata"]["name"])

    @property
    def address(self) -> str:
        """The node's own address."""
        for each in dig(self.node, "status", "addresses", default=()):
            if each.get("type") == "InternalIP":
                return str(each["address"])
        return "127.0.0.1"

    async def pull(self, image: str, real_seconds: float) -> None:
        """Wait until the node has the image; several pods wait for one pull."""
        if image in self.images:
            return
        if image not in self._pulls:
            self._pulls[image] = asyncio.create_task(asyncio.sleep(real_seconds))
        # It goes on for the others where this pod is deleted meanwhile.
        await asyncio.shield(self._pulls[image])
        self.images.add(image)

    def stop(self) -> None:
        """End what is being pulled."""
        for each in self._pulls.values():
            each.cancel()


class Addresses:
    """Gives every pod an address; none is given again before all others were."""

    def __init__(self) -> None:
        self._next = 0
        self._taken: set[IPv4Address] = set()

    def keep(self, address: str) -> None:
        """A pod has this address already."""
        self._taken.add(IPv4Address(address))

    def take(self, wanted: str = "") -> str:
        """The address that a pod has already, where it is one of ours, else the next one that is free."""
        address = IPv4Address(wanted) if wanted else None
        if address is None or address not in ADDRESSES:
            address = next(each for each in self._upcoming() if each not in self._taken)
        self._taken.add(address)
        return str(address)

    def free(self, address: str) -> None:
        """The pod that had the address is gone."""
        self._taken.discard(IPv4Address(address))

    def _upcoming(self) -> Iterator[IPv4Address]:
        size = ADDRESSES.num_addresses
        for _ in range(size):
            self._next = (self._next + 1) % size
            # Addresses that end in 0 or 255 look wrong to people.
            if self._next % 256 not in {0, 255}:
                yield ADDRESSES[self._next]
