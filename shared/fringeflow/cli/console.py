"""Where the commands print: as wide as the terminal, and never folded where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported when it is needed: what prints plain text does not wait for it
    from rich.console import Console

_WIDE = 400


def console(*, stderr: bool = False) -> Console:
    """Return a console on standard output, or on standard error."""
    from rich.console import Console

    made = Console(stderr=stderr, soft_wrap=True, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, soft_wrap=True, highlight=False, width=_WIDE)
