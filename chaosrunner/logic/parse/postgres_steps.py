"""Steps that ask a Postgres: `{SQL: …, args: […]}`, `{TRANSACTION: […]}`, `{MIX: […]}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar, get_args

from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.fields import Fields, filled, items, table, whole
from chaosrunner.logic.parse.journeys import Common, Journey
from chaosrunner.logic.parse.placeholders import VARIABLE
from chaosrunner.logic.parse.replies import JSON_PATH
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, one_of, quoted
from chaosrunner.logic.parse.yaml_nodes import Items, Node, Scalar, Table
from chaosrunner.model.journey import Think
from chaosrunner.model.postgres_step import Argument, Draw, Isolation, Mix, Pool, Query, Rows, Statement, Way

Word = TypeVar("Word")

VERBS = ("SQL", "TRANSACTION", "MIX")
OF_STATEMENT = ("args", "expect", "keep")
OF_QUERY = ("on", "pool", "connection", "retry", "numbered", "setup")
OF_VERB: Mapping[str, tuple[str, ...]] = {
    "SQL": (*OF_STATEMENT, *OF_QUERY),
    "TRANSACTION": ("isolation", *OF_QUERY),
    "MIX": (),
}
KEYS = tuple(dict.fromkeys(key for keys in OF_VERB.values() for key in keys))
POOL_KEYS = ("size", "wait", "statement_timeout", "leak")
WAYS: Mapping[str, Way] = {way: way for way in get_args(Way)}
ISOLATIONS: Mapping[str, Isolation] = {level: level for level in get_args(Isolation) if level}

ROWS = r"(?:(at least|at most) )?([0-9]+)(?: to ([0-9]+))? rows?"
DRAW = r"random (-?[0-9]{1,18}) to (-?[0-9]{1,18})"
CONTROL = r"\s*(begin|start|commit|end|rollback|abort|savepoint|release|prepare)\b"
"""What a statement begins with that opens, ends or cuts a transaction."""


def read(journey: Journey, fields: Fields, common: Common) -> Query | Mix:
    """One step; mistakes are noted at the desk."""
    verb = _verb(journey.desk, fields, VERBS)
    if verb == "MIX":
        return _mix(journey, fields, common)
    return _query(journey, fields, common)


def _verb(desk: Desk, fields: Fields, verbs: tuple[str, ...]) -> str:
    """Its one verb; keys that do not go with it are noted."""
    found = [key for key, _ in fields.table.entries if key.text in verbs]
    if len(found) != 1:
        at = found[1] if found else fields.table
        desk.wrong(at, f"{fields.what} needs exactly one of {one_of(verbs)}, such as 'SQL: select 1'")
    verb = found[0].text if found else verbs[0]
    for key, _ in fields.table.entries:
        if key.text in KEYS and key.text not in OF_VERB[verb]:
            hint = "; write it beside the statement: {SQL: …, args: […]}" if key.text in OF_STATEMENT else ""
            desk.wrong(key, f"{quoted(key.text)} is no key of {verb}{hint or did_you_mean(key.text, OF_VERB[verb])}")
    return verb


def _query(journey: Journey, fields: Fields, common: Common) -> Query:
    desk = journey.desk
    numbered = fields.read("numbered", _one({"true": True, "false": False}), False)
    connection: Way = fields.read("connection", _one(WAYS), WAYS["pooled"])
    in_transaction = fields.node("TRANSACTION") is not None
    statements = _statements(journey, fields) if in_transaction else _single(journey, fields)
    if in_transaction and not statements and not numbered and not desk.mistakes:
        desk.wrong(fields.place("TRANSACTION"), "a transaction needs a statement, unless it is 'numbered'")
    if in_transaction or connection != "of the journey":
        _refuse_control(desk, fields, statements)
    on = _on(desk, fields)
    return Query(
        statements=statements,
        transaction=in_transaction,
        isolation=fields.read("isolation", _one(ISOLATIONS), ""),
        retry=fields.read("retry", lambda text: whole(text, 0, 1000), 0),
        on=on,
        pool=_pool(desk, fields, on),
        connection=connection,
        numbered=numbered,
        setup=tuple(text.text for text in fields.texts("setup")),
        **common,
    )


def _mix(journey: Journey, fields: Fields, common: Common) -> Mix:
    """Queries by weight; each has a name of its own behind the mix's."""
    desk, node = journey.desk, fields.node("MIX")
    queries: dict[str, Query] = {}
    weights: list[int] = []
    for member in items(desk, node, "MIX") if node else ():
        found = table(desk, member, "a query of a MIX")
        if found is None or len(found.entries) != 1:
            desk.wrong(member, "a query of a MIX is one name and what it asks, such as '- read: {SQL: select 1}'")
            continue
        name, body = found.entries[0]
        inner = table(desk, body, f"query {quoted(name.text)}")
        whole_name = f"{common['name']}.{name.text}"
        if not re.fullmatch(r"[^<>=\s.]+(?: [^<>=\s.]+)*", name.text) or whole_name in queries:
            desk.wrong(name, f"{quoted(name.text)} is no name for one query of this MIX, or it is another's")
        elif inner is not None:
            own = Fields(desk, inner, f"query {quoted(name.text)}").only((*VERBS[:2], *KEYS, "weight"))
            _verb(desk, own, VERBS[:2])
            queries[whole_name] = _query(journey, own, _plain(whole_name, common))
            weights.append(own.count("weight", 1))
    if not queries and not desk.mistakes:
        desk.wrong(fields.place("MIX"), "a MIX needs at least one query, such as '- read: {SQL: select 1, weight: 9}'")
    return Mix(queries=tuple(queries.values()), weights=tuple(weights), **common)


def _plain(name: str, common: Common) -> Common:
    """A member of a mix has a name; pauses, repetition and timeout are the mix's."""
    return Common(name=name, think=Think(), again=None, timeout_s=common["timeout_s"])


# --- statements


def _single(journey: Journey, fields: Fields) -> tuple[Statement, ...]:
    node = fields.node("SQL")
    return (_statement(journey, fields, node),) if node else ()


def _statements(journey: Journey, fields: Fields) -> tuple[Statement, ...]:
    desk, node = journey.desk, fields.node("TRANSACTION")
    found = []
    for member in items(desk, node, "TRANSACTION") if node else ():
        if isinstance(member, Table):
            inner = Fields(desk, member, f"a statement of {fields.what}").only(("SQL", *OF_STATEMENT))
            text = inner.need("SQL", "such as '{SQL: select 1}'")
        else:
            inner, text = Fields(desk, Table(member.line, member.column, ()), fields.what), member
        if text is not None:
            found.append(_statement(journey, inner, text))
    return tuple(found)


def _statement(journey: Journey, fields: Fields, node: Node) -> Statement:
    desk = journey.desk
    sql = desk.read(node, "SQL", filled) or ""
    args = _args(journey, fields)
    wanted = _parameters(sql)
    if sql and wanted != len(args):
        given = "1 arg" if len(args) == 1 else f"{len(args)} args"
        goes = f"goes up to ${wanted}" if wanted else "holds no $1"
        desk.wrong(fields.place("args") if args else node, f"the statement {goes}, but has {given}")
    known = {*journey.kept, *(journey.columns or ())}
    inside = next((name for name in re.findall(f"<({VARIABLE})>", sql) if name in known), None)
    if inside is not None:
        desk.wrong(node, f"<{inside}> in a statement is never filled; write '$1' there and 'args: [<{inside}>]'")
    expect = desk.read(rows, "expect", parse_rows) if (rows := fields.node("expect")) else None
    keep = _keep(desk, fields.node("keep"), f"keep of {fields.what}")
    journey.kept.update(dict.fromkeys(keep, fields.what))
    return Statement(sql=sql, args=args, expect=expect, keep=keep)


def parse_rows(text: str) -> Rows:
    """`1 row`, `2 to 5 rows`, `at least 1 row`, `at most 10 rows`. Raises ReadingError."""
    found = re.fullmatch(ROWS, text)
    if not found or (found[1] and found[3]):
        raise ReadingError("expected how many rows, such as '1 row', 'at least 1 row' or '2 to 5 rows'")
    first = whole(found[2], 0, 10**9)
    last = whole(found[3], first, 10**9) if found[3] else first
    match found[1]:
        case "at least":
            return Rows(least=first)
        case "at most":
            return Rows(most=first)
        case _:
            return Rows(least=first, most=last)


def _parameters(sql: str) -> int:
    """The highest `$n` outside of quotes and comments."""
    bare = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|\$(\w*)\$.*?\$\1\$", " ", sql, flags=re.DOTALL)
    return max((int(n) for n in re.findall(r"\$([0-9]+)", bare)), default=0)


def _args(journey: Journey, fields: Fields) -> tuple[Argument, ...]:
    node = fields.node("args")
    members = () if node is None else node.items if isinstance(node, Items) else (node,)
    return tuple(_argument(journey, member) for member in members)


def _argument(journey: Journey, node: Node) -> Argument:
    if isinstance(node, Scalar) and "${" in node.text and not node.text.startswith("random "):
        journey.check(node, "args")
        return journey.desk.template(node, "args")  # may be a secret: it stays a reference until the load begins
    found = journey.desk.scalar(node, "args")
    if found is None or not isinstance(found.value, str):
        return found.value if found and not found.zeros else found.text if found else None
    draw = re.fullmatch(DRAW, found.text)
    if draw is None:
        journey.check(found, "args")
        return found.text
    low, high = int(draw[1]), int(draw[2])
    if low > high:
        journey.desk.wrong(node, "a draw goes from the lowest to the highest, such as 'random 1 to 1000'")
    return Draw(low=low, high=high)


def _keep(desk: Desk, node: Node | None, what: str) -> dict[str, str]:
    found = table(desk, node, what) if node else None
    kept: dict[str, str] = {}
    for variable, path in found.entries if found else ():
        if not re.fullmatch(VARIABLE, variable.text):
            name = quoted(variable.text)
            desk.wrong(variable, f"{name} is no name for a variable; expected letters, digits, _ and -")
        kept[variable.text] = desk.read(path, what, _path) or ""
    return kept


def _path(text: str) -> str:
    if not re.fullmatch(JSON_PATH, text):
        raise ReadingError("expected a path into the rows, such as '$[0].balance'")
    return text


def _refuse_control(desk: Desk, fields: Fields, statements: tuple[Statement, ...]) -> None:
    """Who begins a transaction by hand on a pooled connection leaves it open to the next one."""
    bad = next((found for one in statements if (found := re.match(CONTROL, one.sql, re.IGNORECASE))), None)
    if bad is not None:
        word = quoted(bad[1])
        advice = "write 'TRANSACTION: [...]', or keep the connection with 'connection: of the journey'"
        desk.wrong(fields.table, f"{word} in {fields.what} would leave its transaction to whoever comes next; {advice}")


# --- where and how


def _on(desk: Desk, fields: Fields) -> str:
    """The component it asks: the one that is named, or the only one with a DSN."""
    name, known = fields.text("on"), desk.databases
    if known is None:  # the system cannot be read, and says so itself
        return name
    if name and name not in known:
        desk.wrong(fields.place("on"), f"no component {quoted(name)} with a 'dsn'{did_you_mean(name, known)}")
    if not name and len(known) != 1:
        wrong = f"say which component {fields.what} asks: 'on: {next(iter(known))}'" if known else NO_DSN
        desk.wrong(fields.table, wrong)
    return name or next(iter(known), "")


NO_DSN = "no component of the system has a 'dsn'; add one, such as 'database: {dsn: postgresql://…}'"


def _pool(desk: Desk, fields: Fields, on: str) -> Pool | None:
    """What it says of its component's pool; steps that contradict each other are noted."""
    node = fields.node("pool")
    if node is None:
        return None
    if isinstance(node, Table):
        own = Fields(desk, node, "pool").only(POOL_KEYS)
        pool = Pool(
            size=own.count("size", 10, most=10_000),
            wait_s=own.seconds("wait", 1.0) if own.node("wait") else None,
            statement_timeout_s=own.seconds("statement_timeout", 1.0) if own.node("statement_timeout") else None,
            leak_s=own.seconds("leak", 10.0),
        )
    else:
        pool = replace(Pool(), size=fields.count("pool", 10, most=10_000))
    said = desk.databases.setdefault(on, None) if desk.databases is not None else None
    if said is not None and said != pool:
        desk.wrong(node, f"another step says otherwise of the pool of {quoted(on)}; say it once")
    if desk.databases is not None:
        desk.databases[on] = pool
    return pool


def _one(words: Mapping[str, Word]) -> Callable[[str], Word]:
    """A reader of one of several words. It raises ReadingError."""

    def reader(text: str) -> Word:
        if text not in words:
            raise ReadingError(f"expected {one_of(words)}")
        return words[text]

    return reader
