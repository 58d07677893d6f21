"""`chartproof toolchain`: build, locate and list the pinned programs."""

from chartproof.toolchain.command import register as add_parser

__all__ = ["add_parser"]
