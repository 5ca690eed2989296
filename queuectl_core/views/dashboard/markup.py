"""HTML and SVG in which all text is escaped.

`Markup` is a string of finished HTML. Every other string is text, and gets escaped when it becomes part of an element.
So text that another program stored can't become markup, wherever it is shown.
"""

from __future__ import annotations

import html
from itertools import groupby
from urllib.parse import quote

from ...values import encode, escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Child = Union[str, int, float, None, "Markup"]

VOID = frozenset(("input", "link", "meta", "br", "hr", "img"))


class Markup(str):
    """Finished HTML."""

    __slots__ = ()


def h(tag: str, /, *children: Child, **attributes: object) -> Markup:
    """An element. Text children are escaped; None is left out.

    An attribute that is None or False is left out, and True has no value. In names, `_` stands for `-`, and a leading
    or trailing one is dropped: `data_id`, `class_`.
    """
    words = [tag]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.strip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{html.escape(escape(value))}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if tag in VOID else f"{opening}{join(*children)}</{tag}>")


def join(*children: Child) -> Markup:
    """Children one after the other, without an element around them."""
    pieces = [child if isinstance(child, Markup) else text(child) for child in children if child is not None]
    return Markup("".join(pieces))


def each(children: list[Markup]) -> Markup:
    """A list of markup as one."""
    return Markup("".join(children))


def text(value: object, keep: str = "") -> Markup:
    """Text as HTML: escaped, with control and bidi characters visible, except for those in `keep`."""
    line = str(value)
    if line.isprintable():
        return Markup(html.escape(line))
    pieces = []
    for is_shown, letters in groupby(line, lambda letter: letter.isprintable() or letter in keep):
        part = "".join(letters)
        if is_shown:
            pieces.append(html.escape(part))
        else:
            pieces.append(f'<span class="mark">{html.escape(part.encode("unicode_escape").decode())}</span>')
    return Markup("".join(pieces))


def url(path: str, **parameters: object) -> str:
    """A path of the dashboard with parameters; those that are None or empty are left out."""
    given = [(key, encode(str(value))) for key, value in parameters.items() if value not in (None, "")]
    words = [f"{key}={quote(value, safe='')}" for key, value in given]
    return path + ("?" + "&".join(words) if words else "")
