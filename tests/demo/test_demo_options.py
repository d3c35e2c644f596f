"""Ports, the system file, and the files that are shipped."""

import socket
from pathlib import Path

import pytest

from chaosrunner.demo.identity import users_csv
from chaosrunner.demo.options import SPAN, DemoUnavailable, Ports, free_base_port, require_free
from chaosrunner.demo.system_file import address_of, at_port, system_file, without_password

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_every_part_has_a_port_of_its_own_within_the_span():
    """No two parts share a port, and all lie in the `SPAN` ports from the base."""
    ports = [port for _, port in Ports(20000).all()]
    assert len(set(ports)) == len(ports) == 14
    assert all(20000 <= port < 20000 + SPAN for port in ports)


def test_a_taken_port_is_named_with_its_part():
    """A port that something listens on is refused in one line that names it and what it is for."""
    base = free_base_port()
    with socket.create_server(("127.0.0.1", Ports(base).model)), pytest.raises(DemoUnavailable) as refusal:
        require_free(Ports(base))
    assert f"port is taken: {base + 4} (the model);" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    require_free(Ports(base))


def test_a_port_that_only_a_cache_needs_is_nobody_elses():
    """What listens where the cache would is refused by a demo with a cache, and by no other."""
    base = free_base_port()
    with socket.create_server(("127.0.0.1", Ports(base).cache)):
        require_free(Ports(base), cached=False)
        with pytest.raises(DemoUnavailable, match=r"\(Redis\)"):
            require_free(Ports(base), cached=True)


def test_the_shipped_system_file_is_what_the_demo_writes():
    """`experiments/systems/demo.yaml` is the text a demo on the default ports writes, byte for byte."""
    assert (EXPERIMENTS / "systems/demo.yaml").read_text() == system_file(Ports(18080))


def test_the_shipped_users_are_the_ones_that_are_seeded():
    """`experiments/users.csv` is the text the demo writes, byte for byte."""
    assert (EXPERIMENTS / "users.csv").read_text() == users_csv()


def test_a_given_database_is_named_without_its_password():
    """The system file says where a given database is and holds no password."""
    text = system_file(Ports(18080), dsn="postgresql://ann:s3cret@db.example:6000/shop?sslmode=disable")
    assert text.count("postgresql://ann@db.example:6000/shop?sslmode=disable") == 2
    assert "s3cret" not in text


@pytest.mark.parametrize(
    ("dsn", "address", "proxied", "public"),
    [
        ("postgresql://u:p@h:1/d", "h:1", "postgresql://u:p@127.0.0.1:9/d", "postgresql://u@h:1/d"),
        ("postgresql://u@h/d", "h:5432", "postgresql://u@127.0.0.1:9/d", "postgresql://u@h/d"),
        ("postgresql://h/d", "h:5432", "postgresql://127.0.0.1:9/d", "postgresql://h/d"),
        ("postgresql://u@[::1]:2/d", "[::1]:2", "postgresql://u@127.0.0.1:9/d", "postgresql://u@[::1]:2/d"),
    ],
)
def test_a_dsn_is_taken_apart_and_put_together(dsn, address, proxied, public):
    """Address, way through the proxy and public form of a DSN come from its parts, missing ones included."""
    assert (address_of(dsn), at_port(dsn, 9), without_password(dsn)) == (address, proxied, public)
