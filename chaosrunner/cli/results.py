"""Results on stdout, whose reader may go away: that ends the telling, not the work, and changes no exit code."""

from __future__ import annotations

import click


def tell(line: object) -> None:
    """Print a line of results, at once."""
    try:
        click.echo(line)
    except (OSError, ValueError):
        pass  # `main` sends what is left in the buffer nowhere
