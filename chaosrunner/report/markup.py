"""Elements of a page. Texts are escaped by the serialiser, so nothing a user wrote can become markup."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from chaosrunner.report.words import printable

Child = ET.Element | str | None


def el(tag: str, *children: Child, **attributes: object) -> ET.Element:
    """An element. Attribute names take `_` for `-` and end in `_` where Python would object; None leaves one out.

    Args:
        tag: the element's name.
        children: elements and texts in order; None is skipped.
        attributes: values are written as text, floats with at most two decimals.
    """
    element = ET.Element(tag)
    for name, value in attributes.items():
        if value is not None:
            element.set(name.rstrip("_").replace("_", "-"), _text(value))
    last: ET.Element | None = None
    for child in children:
        if child is None:
            continue
        if isinstance(child, str):
            if last is None:
                element.text = (element.text or "") + child
            else:
                last.tail = (last.tail or "") + child
        else:
            element.append(child)
            last = child
    return element


def table(
    head: list[str],
    body: list[list[Child]],
    *,
    caption: str = "",
    numeric: frozenset[int] = frozenset(),
    begins: frozenset[int] = frozenset(),
) -> ET.Element:
    """A data table with column headings; the first cell of a row is its heading.

    Args:
        head: column headings.
        body: rows of cells.
        caption: what the table shows.
        numeric: columns to align as numbers.
        begins: rows that begin a group.
    """
    rows = []
    for number, row in enumerate(body):
        cells = [
            el("th", cell, scope="row") if column == 0 else el("td", cell, class_="n" if column in numeric else None)
            for column, cell in enumerate(row)
        ]
        rows.append(el("tr", *cells, class_="begins" if number in begins else None))
    heads = [el("th", text, scope="col", class_="n" if column in numeric else None) for column, text in enumerate(head)]
    inner = el("table", el("caption", caption) if caption else None, el("thead", el("tr", *heads)), el("tbody", *rows))
    return el(
        "div", inner, class_="wide", tabindex="0", role="region", aria_label=caption or f"table by {head[0] or head[1]}"
    )


def serialised(element: ET.Element) -> str:
    """The element as HTML."""
    return ET.tostring(element, encoding="unicode", method="html")


def block(text: str) -> str:
    """A text of several lines, each made printable."""
    return "\n".join(printable(line) for line in text.splitlines())


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
