"""The clients of a scenario: what the runner asks of whoever sends the requests."""

from __future__ import annotations

from typing import Protocol, Self

from chartproof.cluster.scenario.sizing import Lengths
from chartproof.cluster.scenario.timeline import Asked


class Clients(Protocol):
    """Sends streaming requests at a rate that does not wait for answers, and writes down what becomes of each."""

    async def __aenter__(self) -> Self:
        """Begin."""

    async def __aexit__(self, *error: object) -> None:
        """Give up what is not answered yet."""

    def rate(self, per_second: float, lengths: Lengths, phase: str) -> None:
        """From now on send so many per simulated second, evenly spaced; 0 stops."""

    def burst(self, count: int, lengths: Lengths, phase: str) -> None:
        """Send so many at once."""

    @property
    def unanswered(self) -> int:
        """Requests that are under way."""

    @property
    def lost(self) -> int:
        """Requests that ended without a complete answer."""

    def sent(self, phase: str = "") -> int:
        """Requests that were sent, in all or in a phase."""

    def asked(self) -> list[Asked]:
        """Every request until now, those under way as such."""
