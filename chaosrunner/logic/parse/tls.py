"""`tls:` of a load or a system: `{verify: true, ca: ca.pem, certificate: me.pem, key: me.key, server_name: shop}`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from chaosrunner.logic.parse.clients import yes_or_no
from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.fields import Fields, table
from chaosrunner.logic.parse.yaml_nodes import Node
from chaosrunner.model.http_client import Tls

KEYS = ("verify", "ca", "certificate", "key", "password", "server_name")


def read_tls(desk: Desk, node: Node | None) -> Tls | None:
    """How TLS is spoken; None when nothing is said. Mistakes are noted at the desk."""
    found = table(desk, node, "tls") if node else None
    if found is None:
        return None
    fields = Fields(desk, found, "tls").only(KEYS)
    verify = fields.read("verify", yes_or_no, True)
    if not verify and fields.node("ca"):
        desk.wrong(fields.place("ca"), "'ca' says whom to trust, and 'verify: false' trusts everybody; leave one out")
    for key in ("key", "password"):
        if fields.node(key) and not fields.node("certificate"):
            desk.wrong(fields.place(key), f"'{key}' belongs to a 'certificate', and there is none")
    password = fields.node("password")
    shown = ("CERTIFICATE",) if fields.node("key") else ("CERTIFICATE", "PRIVATE KEY")
    made = Tls(
        verify=verify,
        ca=_file(fields, "ca", "CERTIFICATE"),
        certificate=_file(fields, "certificate", *shown),
        key=_file(fields, "key", "PRIVATE KEY"),
        password=(desk.template(password, "password") or "") if password else "",
        server_name=fields.text("server_name"),
    )
    revealed = desk.filled(made.password)
    if revealed is not None and (made.ca or made.certificate):
        places = {key: fields.place(key) for key in ("ca", "certificate")}
        desk.tls.append((places, replace(made, password=revealed)))
    return made


def _file(fields: Fields, key: str, *labels: str) -> str:
    """The path of a file that holds all of these in PEM form."""
    name = fields.text(key)
    if not name:
        return ""
    path = Path(fields.desk.file).parent / name
    fields.desk.files.append((fields.place(key), path, labels))
    return str(path)
