"""NamedTuple with typed fields, without the 2 ms that `import typing` costs at start-up.

A type checker sees typing.NamedTuple. At run time a class statement builds a collections.namedtuple from
its annotations, defaults and methods, as typing.NamedTuple does. Needs `from __future__ import annotations`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from collections import namedtuple

    class _Meta(type):
        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body.pop("__annotations__")
            defaults = [body.pop(field) for field in fields if field in body]
            result = namedtuple(name, fields, defaults=defaults, module=body.pop("__module__"))
            body.pop("__qualname__")
            for attribute, value in body.items():
                setattr(result, attribute, value)
            return result

    class NamedTuple(metaclass=_Meta):
        """Base class; the annotations of a subclass are the fields of the tuple."""
