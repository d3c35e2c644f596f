"""Every difference between Toxiproxy's API and ours, and what it looks like when a call shows it.

The same table is in docs/reference/proxy.md; `python tests/proxy/proxy_differences.py` writes it there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy_calls import Call
from toxiproxy_peer import Answer

PAGE = Path(__file__).parents[2] / "docs/reference/proxy.md"
BEGIN, END = "<!-- differences: generated -->", "<!-- end of differences -->"
HEADERS = ("content-type", "x-content-type-options", "x-toxiproxy-request-id", "allow", "location")
ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in which two answers to one call differ.

    Attributes:
        call: The call.
        aspect: `status`, `error`, the name of a header, or the place of a value: `value proxies/0/Logger`.
        theirs: What Toxiproxy gave.
        ours: What we gave.
    """

    call: Call
    aspect: str
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        """The finding on one line."""
        return f"{self.call}\n    {self.aspect}: theirs {self.theirs!r}, ours {self.ours!r} ({self.call.differs})"


@dataclass(frozen=True, slots=True)
class Difference:
    """One entry of the table.

    Attributes:
        id: What a call names that shows it.
        theirs: What Toxiproxy does.
        ours: What we do.
        why: Why ours is not the same.
        compat: Whether `--compat toxiproxy` makes it go away.
        general: Recognises a finding of any call; without it only calls that name this difference show it.
        test: The test that shows it, where no answer of the API can.
    """

    id: str
    theirs: str
    ours: str
    why: str
    compat: bool = False
    general: Callable[[Finding], bool] | None = None
    test: str | None = None

    def claims(self, found: Finding) -> bool:
        """Whether the finding is what this difference is about."""
        if self.general is not None:
            return self.general(found)
        return found.call.differs == self.id and not any(entry.general(found) for entry in TABLE if entry.general)


def _mistyped_error(found: Finding) -> bool:
    return found.aspect == "content-type" and (found.theirs, found.ours) == (
        "text/plain; charset=utf-8",
        "application/json",
    )


def _decoder_words(found: Finding) -> bool:
    prefix = "bad request body: "
    return found.aspect == "error" and found.theirs.startswith(prefix) and found.ours.startswith(prefix)


def _stray_logger(found: Finding) -> bool:
    return found.aspect.endswith("/Logger") and (found.theirs, found.ours) == ({}, ABSENT)


def _no_list(found: Finding) -> bool:
    return found.aspect == "value/proxies" and (found.theirs, found.ours) == (None, [])


def _missing_header(found: Finding) -> bool:
    return found.aspect in {"x-toxiproxy-request-id", "allow", "x-content-type-options"} and found.theirs == ABSENT


TABLE = (
    Difference(
        "error-type",
        "Errors are JSON that calls itself `text/plain`.",
        "They are `application/json`.",
        "A client that looks at the type can read them.",
        compat=True,
        general=_mistyped_error,
    ),
    Difference(
        "decoder-words",
        "After `bad request body: ` come the words of Go's decoder.",
        "Other words, the same status and beginning.",
        "They name Go's types; ours name the field.",
        general=_decoder_words,
    ),
    Difference(
        "logger",
        'Every proxy has a stray `"Logger":{}`.',
        "It has not.",
        "An internal that leaked out.",
        general=_stray_logger,
    ),
    Difference(
        "headers",
        "404 of an unknown route and 405 carry no request id; 405 does not say what is allowed.",
        "Every answer has an id, a 405 has `Allow`, no error is to be sniffed.",
        "HTTP asks for `Allow`; an id helps most where something went wrong.",
        general=_missing_header,
    ),
    Difference(
        "verbs",
        "What is no method of HTTP (`get`, `BREW`) is a 405.",
        "`get` is `GET`; what is none in any case is a 400.",
        "Our HTTP parser says so before any route is asked.",
    ),
    Difference(
        "double-slash",
        "`//proxies` is redirected with 301, after which clients send a POST as a GET.",
        "Redirected with 308, which keeps method and body.",
        "A base URL that ends in a slash then works for every call.",
    ),
    Difference(
        "dot-segments",
        "`/proxies/../version` is redirected to `/version`.",
        "404.",
        "Clients resolve such paths themselves.",
    ),
    Difference(
        "encoded-slash",
        "`/proxies/a%2Fb` is read as `/proxies/a/b`: an unknown route.",
        "A proxy called `a/b`, which there is not.",
        "An encoded slash belongs to the name (RFC 3986, 2.2). Both are 404.",
    ),
    Difference(
        "bad-escape",
        "`%zz` in a path is a 400 before any route.",
        "A name that nobody has: 404.",
        "Neither is a name that a client could mean.",
    ),
    Difference(
        "guard-first",
        "A browser is refused (403) where there is a route only.",
        "A browser is refused everywhere.",
        "It need not learn which routes there are.",
    ),
    Difference(
        "strangers",
        "Any `Origin` and any `Host` is served.",
        "403 for any `Origin`, and, without `--token`, for a `Host` that is not of this machine.",
        "A web page that rebinds its name to 127.0.0.1 would otherwise break your system.",
    ),
    Difference(
        "beyond",
        "No such route: 404.",
        "`/proxies/{proxy}/stats`, `/owners`, `/openapi.json`.",
        "What Toxiproxy does not have.",
    ),
    Difference(
        "loopback-only",
        "Without `listen`, or without its host, a proxy listens on every interface.",
        "Without `listen` it listens on 127.0.0.1; every interface is a 400 unless the proxy has a `--token`.",
        "A fault proxy that strangers can reach is a hole.",
    ),
    Difference(
        "listen-shown",
        "A disabled proxy shows `listen` as it was given: `localhost:8080`.",
        "As it will be bound: `127.0.0.1:8080`.",
        "So it is the same before and after it is enabled.",
    ),
    Difference(
        "addresses",
        "A bad `listen` is a 500, a bad `upstream` is taken and fails at the first client.",
        "400 with a sentence.",
        "It is the caller's mistake, and it is said when it is made.",
    ),
    Difference(
        "names",
        "Any name is taken, also one that no later call can address: with `/`, `.`, `..`.",
        "400: at most 255 printable characters, no `/`, not `.` or `..`.",
        "What cannot be addressed cannot be undone.",
    ),
    Difference(
        "unused-fields",
        "A field that is not used (`Logger`) is a 400 if its type is wrong.",
        "It is not looked at.",
        "An internal that leaked out.",
    ),
    Difference(
        "not-unicode",
        "Bytes that are no Unicode become U+FFFD.",
        "400.",
        "The name would not be the one that was sent.",
    ),
    Difference(
        "large",
        "A body of any size is read.",
        "413 above 1 MiB.",
        "The control API answers whatever it is sent.",
    ),
    Difference(
        "stream-case",
        "`stream` is shown as it was spelled: `UPSTREAM`.",
        "`upstream`; the default name keeps the spelling, so that it can be removed by it.",
        "Who reads it back compares with `upstream`.",
    ),
    Difference(
        "toxicity",
        "Any number is taken.",
        "400 unless from 0 to 1.",
        "A percentage by mistake (`50`) would strike every connection.",
    ),
    Difference(
        "toxicity-digits",
        "Kept in 32 bits: 0.123456789 is shown as 0.12345679.",
        "Shown as it was given.",
        "Who reads it back finds what was set.",
    ),
    Difference(
        "fractions",
        "`10.0` is a 400 where a whole number is expected.",
        "Durations and rates may have fractions; sizes must be whole, and `10.0` is.",
        "Half a millisecond is a useful delay.",
    ),
    Difference(
        "negative",
        "Negative attributes are taken; some crash the server at the next byte (`rate`: -1).",
        "400.",
        "They mean nothing.",
    ),
    Difference(
        "slicer",
        "`size_variation` ≥ `average_size` is taken and crashes the server at the next byte.",
        "400.",
        "There is no such slice.",
    ),
    Difference(
        "huge",
        "64-bit integers; beyond them a decoder error.",
        "400 beyond ±2^53.",
        "Larger ones do not survive clients that read numbers as doubles.",
    ),
    Difference(
        "half-changed",
        "A change that is refused for one attribute has set the others.",
        "What is refused has changed nothing.",
        "A 400 that acts cannot be undone.",
    ),
    Difference(
        "rebind",
        "If a proxy cannot listen at its new address it is left disabled, at that address.",
        "It goes on at its old one, connections included.",
        "A failed change is no outage.",
    ),
    Difference(
        "port-kept",
        "A disabled proxy gives its port up: somebody else can take it, and enabling it then fails.",
        "It keeps its port, and refuses clients, until it is moved or deleted.",
        "The end of an outage must not depend on luck.",
    ),
    Difference(
        "populate-null",
        '`"proxies": null` where there are none.',
        '`"proxies": []`.',
        "A list is a list.",
        general=_no_list,
    ),
    Difference(
        "populate-atomic",
        "When one cannot listen, those before it are created or replaced, and the old one of its name is stopped.",
        "All or none: nothing has changed.",
        "Half a configuration is none.",
    ),
    Difference(
        "populate-twice",
        "The second of two entries with one name replaces the first.",
        "400.",
        "It is a mistake in the file.",
    ),
    Difference(
        "reset-atomic",
        "The first proxy that cannot listen again ends the reset; which ones were reset by then is left to chance.",
        "All or none.",
        "After a reset that failed one knows what is.",
        test="test_reset_is_all_or_nothing",
    ),
    Difference(
        "timeout-restarts",
        "The clock of a `timeout` toxic starts anew at every piece of data: steady traffic is never cut.",
        "It starts when the toxic takes hold.",
        "`timeout: 100` means 100 ms.",
        compat=True,
        test="test_a_timeout_restarts_only_when_asked_to",
    ),
    Difference(
        "timeout-removed",
        "Removing a `timeout` toxic closes every connection.",
        "Those that lost nothing go on; those that lost bytes are closed.",
        "The end of a fault is not a second fault.",
        test="test_a_removed_timeout_leaves_whole_connections_and_closes_torn_ones",
    ),
    Difference(
        "toxicity-drawn",
        "Who is struck is drawn anew whenever another toxic of the proxy comes, changes or goes.",
        "Drawn once for each connection.",
        "Half of the connections must stay the same half.",
        test="test_a_neighbour_redraws_the_lot_only_in_toxiproxy",
    ),
    Difference(
        "seed",
        "`-seed` changes nothing: its result is thrown away.",
        "The same seed and the same traffic give the same faults; a toxic can have a `seed` of its own.",
        "A failure that was found can be had again.",
        test="test_a_process_of_the_same_seed_strikes_the_same_connections",
    ),
    Difference(
        "reset-peer",
        "`reset_peer` resets connections opened after it was added only.",
        "Open ones as well; at toxicity 0 none.",
        "A pool's connections are open already.",
        test="test_reset_peer_resets_open_connections_only_in_ours",
    ),
    Difference(
        "reset-idle",
        "Under `reset_peer` the server sees a reset also when a client goes that has had no byte.",
        "It sees the client's own end: the first byte starts the toxic.",
        "A connection that was not struck ends as it would.",
        test="test_reset_peer_resets_the_server_of_an_idle_client_only_in_toxiproxy",
    ),
    Difference(
        "limit-nothing",
        "`limit_data` of 0 closes a connection at the first byte: the server has had the request by then.",
        "At once.",
        "No byte may pass, and none is waited for.",
        test="test_limit_data_of_0_waits_for_a_byte_only_in_toxiproxy",
    ),
    Difference(
        "end-late",
        "`latency` delays data and lets the end of the stream overtake its time.",
        "The end is late as well.",
        "So is it in a slow network.",
        test="test_an_end_is_as_late_as_the_data_only_in_ours",
    ),
    Difference(
        "slicer-average",
        "`slicer` halves what it has until the pieces are small enough: 62 bytes on average for 100.",
        "Pieces are of `average_size` on average; at 0 they are as they came (Toxiproxy overflows its stack).",
        "It is what the attribute says.",
        test="test_slicer_means_the_average_only_in_ours",
    ),
    Difference(
        "slow-connect",
        "An upstream that does not accept keeps every new client of its proxy waiting, without an end.",
        "Each client waits for its own connection, 5 s at most, and is then reset.",
        "One dead server is one dead server.",
        test="test_a_server_that_never_accepts_stalls_nobody_else",
    ),
    Difference(
        "no-hanging",
        "A call that changes a toxic can hang behind data that nobody reads, and every other call behind it.",
        "Control calls do not wait for data.",
        "A fault that cannot be taken back is an outage.",
        test="test_a_stalled_connection_keeps_neither_the_api_nor_others_waiting",
    ),
    Difference(
        "live-counters",
        "`/metrics` counts a connection's bytes when it ends.",
        "As they pass.",
        "A pool's connections end at night.",
        test="test_bytes_are_counted_while_the_connection_is_open",
    ),
    Difference(
        "bad-config",
        "A `-config` that cannot be read, or a proxy in it that cannot listen, is a line in the log; the server runs.",
        "Nothing starts, exit code 2, one line that names the file.",
        "Tests that run without their proxies pass for the wrong reason.",
        test="test_it_refuses_to_start_with_one_clear_line",
    ),
)


def findings(call: Call, theirs: Answer, ours: Answer) -> Iterator[Finding]:
    """In what two answers to one call differ; when the status does, nothing else is looked at."""
    if theirs.status != ours.status:
        yield Finding(call, "status", (theirs.status, theirs.body), (ours.status, ours.body))
        return
    for name in HEADERS:
        one, other = (_header(answer, name) for answer in (theirs, ours))
        if one != other:
            yield Finding(call, name, one, other)
    one, other = _content(theirs), _content(ours)
    for place in sorted(one.keys() | other.keys()):
        pair = one.get(place, ABSENT), other.get(place, ABSENT)
        if pair[0] != pair[1]:
            yield Finding(call, place, *pair)


def _header(answer: Answer, name: str) -> str:
    value = answer.headers.get(name, ABSENT)
    return "some" if name == "x-toxiproxy-request-id" and value != ABSENT else value


def _content(answer: Answer) -> dict[str, Any]:
    try:
        value = json.loads(answer.body)
    except ValueError:
        return {"text": answer.body.decode(errors="replace")}
    return dict(_leaves("value", value))


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [leaf for key, item in inner for leaf in _leaves(f"{place}/{key}", item)]
    yield from found or [("error" if place == "value/error" else place, value)]


def table() -> str:
    """The table as Markdown."""
    lines = ["| id | Toxiproxy 2.12.0 | chaosrunner | why | `--compat` |", "|---|---|---|---|---|"]
    for entry in TABLE:
        cells = (entry.id, entry.theirs, entry.ours, entry.why, "as Toxiproxy" if entry.compat else "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def page_with_table(page: str) -> str:
    """The page with the table as it is now."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{table()}\n{END}", page)


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text()))
