"""Where the commands print: as wide as the terminal, and never folded where there is none."""

from __future__ import annotations

from rich.console import Console

_WIDE = 400


def console(*, stderr: bool = False) -> Console:
    """Return a console on standard output, or on standard error."""
    made = Console(stderr=stderr, soft_wrap=True, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, soft_wrap=True, highlight=False, width=_WIDE)
