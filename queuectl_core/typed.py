"""NamedTuple and `once`, without the 2 ms each that `import typing` and `import functools` cost at start-up.

A type checker sees typing.NamedTuple. At run time a class statement with annotations, defaults and methods makes a
class that behaves the same, in a tenth of the time: collections.namedtuple compiles source code for each class. Needs
`from __future__ import annotations`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple as NamedTuple, TypeVar

    T = TypeVar("T")
else:
    try:
        from _collections import _tuplegetter
    except ImportError:  # Only CPython has it.
        from operator import itemgetter

        def _tuplegetter(index, doc):
            return property(itemgetter(index), doc=doc)

    class _Meta(type):
        def __new__(cls, name, bases, body):
            if bases == (tuple,):
                return super().__new__(cls, name, bases, body)
            fields = tuple(body.pop("__annotations__"))
            defaults = {field: body.pop(field) for field in fields if field in body}
            body.update(__slots__=(), _fields=fields, _field_defaults=defaults)
            for index, field in enumerate(fields):
                body[field] = _tuplegetter(index, "")
            return super().__new__(cls, name, bases, body)

    class NamedTuple(tuple, metaclass=_Meta):
        """Base class; the annotations of a subclass are the fields of the tuple."""

        __slots__ = ()
        _fields = ()

        def __new__(cls, *given, **named):
            if named or len(given) != len(cls._fields):
                given = _complete(cls, given, named)
            return tuple.__new__(cls, given)

        @classmethod
        def _make(cls, values):
            made = tuple.__new__(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"{cls.__name__} takes {len(cls._fields)} values, not {len(made)}")
            return made

        def _replace(self, **changes):
            made = self._make(map(changes.pop, self._fields, self))
            if changes:
                raise ValueError(f"{type(self).__name__} has no field {', '.join(changes)}")
            return made

        def _asdict(self):
            return dict(zip(self._fields, self))

        def __repr__(self):
            fields = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self))
            return f"{type(self).__name__}({fields})"

        def __getnewargs__(self):
            return tuple(self)

    def _complete(cls, given, named):
        """All values for the fields of `cls`. Raises TypeError if one is missing, unknown or given twice."""
        fields, defaults, count = cls._fields, cls._field_defaults, len(given)
        found = named if named else defaults
        try:
            rest = [found[field] if field in found else defaults[field] for field in fields[count:]]
        except KeyError as error:
            raise TypeError(f"{cls.__name__} has no value for {error}") from None
        unknown = named.keys() - set(fields[count:])
        if unknown or count > len(fields):
            problem = f"unexpected {', '.join(unknown)}" if unknown else f"{count} values for {len(fields)} fields"
            raise TypeError(f"{cls.__name__}: {problem}")
        return (*given, *rest)


def once(function: Callable[[], T]) -> Callable[[], T]:
    """A decorator: the function is called once, and later calls return the same."""
    results: list[T] = []

    def remembered() -> T:
        if not results:
            results.append(function())
        return results[0]

    return remembered
