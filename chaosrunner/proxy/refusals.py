"""What the control API answers when it will not do what was asked."""


class RefusedError(Exception):
    """A request that is refused; nothing was changed by it.

    Attributes:
        status: The HTTP status that says so.
        sentence: One sentence for the person who reads it; Toxiproxy's own words where it has some.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class StartError(Exception):
    """The proxy cannot start as it was asked to; the message is one line for the terminal."""


def bad_body(detail: str) -> RefusedError:
    """A body that is not what the call takes (400)."""
    return RefusedError(400, f"bad request body: {detail}")


def missing_field(name: str) -> RefusedError:
    """A required field that is absent or empty (400)."""
    return RefusedError(400, f"missing required field: {name}")


def bad_value(sentence: str) -> RefusedError:
    """A value out of range, said in a sentence (400)."""
    return RefusedError(400, sentence)


def proxy_not_found() -> RefusedError:
    """No proxy has that name (404)."""
    return RefusedError(404, "proxy not found")


def toxic_not_found() -> RefusedError:
    """No toxic of the proxy has that name (404)."""
    return RefusedError(404, "toxic not found")
