"""A strict reader of OpenMetrics and of Prometheus's text format, written from their specifications.

It accepts less than the specifications do: exactly what monitoring systems of any age agree on. Each family declares
its help, its type and, in OpenMetrics, its unit, before its samples, which stand together.

Sources: https://prometheus.io/docs/specs/om/open_metrics_spec/ and
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
import re
from typing import Dict, FrozenSet, NamedTuple, Tuple

Labels = FrozenSet[Tuple[str, str]]
Samples = Dict[Tuple[str, Labels], float]

_SAMPLE = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)(?:\{(.*)\})? (-?[0-9]+(?:\.[0-9]+)?|\+Inf)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')
_ESCAPE = re.compile(r'\\([\\"n])')
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "info": ("_info",), "histogram": ("_bucket", "_count", "_sum")}


class Family(NamedTuple):
    """A declared name: its type, unit or "", and help."""

    kind: str
    unit: str
    help: str


class Exposition(NamedTuple):
    """What was read: families by name, and values by name and labels."""

    families: dict[str, Family]
    samples: Samples

    def value(self, name: str, **labels: str) -> float:
        """The value of one sample."""
        return self.samples[name, frozenset(labels.items())]

    def labels(self, name: str, label: str) -> list[str]:
        """The values of a label in the samples of a name, each once, in order."""
        found = [dict(labels)[label] for sample, labels in self.samples if sample == name]
        return list(dict.fromkeys(found))


def read(text: str, is_openmetrics: bool) -> Exposition:
    """Parse a whole text. Raises ValueError, which names the line, if anything in it is wrong."""
    if not text.endswith("\n"):
        raise ValueError("no newline at the end")
    lines = text[:-1].split("\n")
    if is_openmetrics and lines.pop() != "# EOF":
        raise ValueError("no # EOF at the end")
    families: dict[str, Family] = {}
    samples: Samples = {}
    present = ""
    for number, line in enumerate(lines, 1):
        try:
            if line.startswith("#"):
                name = _declare(line, families, present, is_openmetrics)
                if name != present and name in {_family(sample, families, is_openmetrics) for sample, _ in samples}:
                    raise ValueError("a family that comes twice")
                present = name
            else:
                sample, labels, value = _sample(line)
                if (sample, labels) in samples:
                    raise ValueError("a sample that comes twice")
                if _family(sample, families, is_openmetrics) != present:
                    raise ValueError("a sample of another family")
                samples[sample, labels] = value
        except ValueError as error:
            raise ValueError(f"line {number}: {error}: {line:.200}") from None
    for name, family in families.items():
        _check(name, family, samples, is_openmetrics)
    return Exposition(families, samples)


def _declare(line: str, families: dict[str, Family], present: str, is_openmetrics: bool) -> str:
    """Read a line that describes a family; returns its name."""
    found = re.fullmatch(r"# (HELP|TYPE|UNIT) ([a-zA-Z_][a-zA-Z0-9_]*) (\S.*)", line)
    if not found:
        raise ValueError("neither HELP nor TYPE nor UNIT")
    word, name, text = found.groups()
    known = families.get(name, Family("", "", ""))
    if word == "UNIT" and not (is_openmetrics and name.endswith("_" + text)):
        raise ValueError("a unit that isn't the end of the name, or in the older format")
    field = {"HELP": "help", "TYPE": "kind", "UNIT": "unit"}[word]
    if getattr(known, field):
        raise ValueError(f"{word} comes twice")
    if word == "TYPE" and (text not in SUFFIXES or (text == "info" and not is_openmetrics)):
        raise ValueError("an unknown type")
    families[name] = known._replace(**{field: text})
    return name


def _sample(line: str) -> tuple[str, Labels, float]:
    found = _SAMPLE.fullmatch(line)
    if not found:
        raise ValueError("not a sample")
    labels: list[tuple[str, str]] = []
    at, inside = 0, found[2] or ""
    while at < len(inside):
        label = _LABEL.match(inside, at)
        if not label or (label[3] and label.end() == len(inside)):
            raise ValueError("not a list of labels")
        labels.append((label[1], _ESCAPE.sub(lambda escape: "\n" if escape[1] == "n" else escape[1], label[2])))
        at = label.end()
    if len(dict(labels)) < len(labels):
        raise ValueError("a label that comes twice")
    return found[1], frozenset(labels), float(found[3])


def _family(sample: str, families: dict[str, Family], is_openmetrics: bool) -> str:
    """The name of the family that a sample belongs to; "" if none is declared."""
    for name, family in families.items():
        has_suffix = is_openmetrics or family.kind == "histogram"
        if sample in ([name + suffix for suffix in SUFFIXES.get(family.kind, ())] if has_suffix else [name]):
            return name
    return ""


def _check(name: str, family: Family, samples: Samples, is_openmetrics: bool) -> None:
    if not (family.kind and family.help):
        raise ValueError(f"{name}: not fully declared")
    if re.search(r"_(total|info|bucket|count|sum)$", name) and is_openmetrics:
        raise ValueError(f"{name}: ends like a sample")
    if family.kind == "counter" and not is_openmetrics and not name.endswith("_total"):
        raise ValueError(f"{name}: doesn't end in _total")
    if is_openmetrics and bool(family.unit) != name.endswith(("_seconds", "_bytes")):
        raise ValueError(f"{name}: has a unit in one place only")
    series: dict[Labels, list[tuple[float, float]]] = {}
    for (sample, labels), value in samples.items():
        if sample.startswith(name) and family.kind in ("counter", "histogram", "info") and value < 0:
            raise ValueError(f"{sample}: goes below 0")
        if sample == name + "_bucket":
            end = dict(labels)["le"]
            series.setdefault(labels - {("le", end)}, []).append((float(end), value))
    for labels, buckets in series.items():
        ends, counts = zip(*buckets)
        if list(ends) != sorted(set(ends)) or ends[-1] != math.inf or list(counts) != sorted(counts):
            raise ValueError(f"{name}: buckets out of order")
        if counts[-1] != samples[name + "_count", labels] or (name + "_sum", labels) not in samples:
            raise ValueError(f"{name}: the last bucket doesn't count all")
