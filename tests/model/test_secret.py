"""A secret shows its references, never a value."""

from __future__ import annotations

from chaosrunner.model.secret import Secret


def test_a_secret_prints_its_template() -> None:
    """Printing a secret, or its representation, shows the reference."""
    secret = Secret("postgresql://app:${file:/run/secrets/pw}@h/shop")
    assert f"{secret}" == secret.template
    assert repr(secret) == f"Secret(template={secret.template!r})"
    assert secret == Secret(secret.template)
