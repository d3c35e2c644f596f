"""Regular expressions whose search takes time in proportion to the text, whatever they are: RE2's.

Python's own backtrack: some take years for a text of a kilobyte, and nothing can interrupt them.
"""

from typing import Any

LONGEST_EXPRESSION = 1000
# What an expression may cost once it is compiled; a counted repeat of a counted repeat is soon larger.
_MOST_MEMORY_BYTES = 1024 * 1024


class BadExpression(Exception):
    """Not an expression that can be searched; the message says why."""


class Pattern:
    """An expression in RE2's syntax, ready to be searched in any case; `.` is any character, also the end of a line."""

    def __init__(self, expression: str) -> None:
        """Read an expression.

        Raises:
            BadExpression: It is none that RE2 can search, it is too long, or RE2 is not installed.
        """
        if len(expression) > LONGEST_EXPRESSION:
            raise BadExpression(f"longer than {LONGEST_EXPRESSION} characters")
        try:
            import re2  # imported when the first toxic has a query
        except ImportError:
            raise BadExpression("the package google-re2 is not installed here") from None
        options = re2.Options()
        options.case_sensitive = False
        options.dot_nl = True
        options.log_errors = False
        options.max_mem = _MOST_MEMORY_BYTES
        try:
            self._compiled: Any = re2.compile(expression, options)
        except re2.error as error:
            raise BadExpression(_words(error)) from None

    def found_in(self, text: str) -> bool:
        """Whether some part of `text` matches, in any case."""
        return self._compiled.search(text) is not None


def _words(error: Exception) -> str:
    """What RE2 says, which is bytes."""
    said = error.args[0] if error.args else ""
    return said.decode() if isinstance(said, bytes) else str(said)
