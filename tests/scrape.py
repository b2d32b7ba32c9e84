"""Prometheus's text format 0.0.4, read strictly and with nothing of the product's code.

What a scraper would only warn of fails here: a sample without a type, a series that is there
twice, samples of a metric that are not together, a histogram that does not add up.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

_SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (-?[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"(?:,|\Z)')
_PARTS = ("_bucket", "_sum", "_count")

Labels = frozenset[tuple[str, str]]


class Scraped(NamedTuple):
    """What was told: kinds by name, and numbers by name and labels."""

    kinds: Mapping[str, str]
    samples: Mapping[tuple[str, Labels], float]

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of `name` that have these labels, among others."""
        wanted = set(labels.items())
        return sum(
            number for (each, has), number in self.samples.items() if each == name and wanted <= has
        )

    def series(self, name: str) -> set[Labels]:
        """The labels of every series of `name`."""
        return {labels for each, labels in self.samples if each == name}

    def growing(self) -> dict[tuple[str, Labels], float]:
        """The numbers that never may decrease."""
        gauges = {name for name, kind in self.kinds.items() if kind == "gauge"}
        return {key: number for key, number in self.samples.items() if key[0] not in gauges}


def read_metrics(text: str) -> Scraped:
    """The numbers of a scrape."""
    assert text.endswith("\n")
    kinds: dict[str, str] = {}
    samples: dict[tuple[str, Labels], float] = {}
    helped = metric = ""
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
        elif line.startswith("# TYPE "):
            _, _, metric, kind = line.split(" ")
            assert metric == helped, "help comes before the type"
            assert metric not in kinds, "a metric's lines are together"
            assert kind in {"counter", "gauge", "histogram"}
            kinds[metric] = kind
        else:
            found = _SAMPLE.fullmatch(line)
            assert found, line
            name, labels = found[1], _labels(found[2] or "")
            parts = _PARTS if kinds[metric] == "histogram" else ("",)
            assert name in {metric + part for part in parts}, line
            assert (name, labels) not in samples, line
            samples[name, labels] = float(found[3])
    for metric, kind in kinds.items():
        if kind == "histogram":
            _check_histogram(metric, samples)
    return Scraped(kinds, samples)


def _labels(text: str) -> Labels:
    pairs = []
    place = 0
    while place < len(text):
        found = _LABEL.match(text, place)
        assert found, text
        value = re.sub(r"\\(.)", lambda e: "\n" if e[1] == "n" else e[1], found[2])
        pairs.append((found[1], value))
        place = found.end()
    assert len(dict(pairs)) == len(pairs), text
    return frozenset(pairs)


def _check_histogram(metric: str, samples: Mapping[tuple[str, Labels], float]) -> None:
    buckets: dict[Labels, list[tuple[float, float]]] = {}
    for (name, labels), number in samples.items():
        if name == f"{metric}_bucket":
            bound = float(dict(labels)["le"])
            rest = frozenset(pair for pair in labels if pair[0] != "le")
            buckets.setdefault(rest, []).append((bound, number))
    for labels, found in buckets.items():
        assert all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(found)), metric
        assert found[-1] == (float("inf"), samples[f"{metric}_count", labels])
        assert (f"{metric}_sum", labels) in samples
