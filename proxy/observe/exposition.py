"""The numbers as text, in Prometheus's format 0.0.4. Pure.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterator, Mapping, Sequence

from proxy.observe.metrics import METRICS, Kind, Metric

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Sequence[str], Sequence[int]]
"""The values of the labels, and the numbers that are kept."""


def expose(samples: Mapping[str, Sequence[Sample]]) -> bytes:
    """Every metric of the table, with its samples by name, in the table's order."""
    lines: list[str] = []
    for metric in METRICS:
        lines.append(f"# HELP {metric.name} {_escaped(metric.meaning)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for values, numbers in sorted(samples.get(metric.name, ())):
            lines.extend(_lines(metric, values, numbers))
    return ("\n".join(lines) + "\n").encode()


def _lines(metric: Metric, values: Sequence[str], numbers: Sequence[int]) -> Iterator[str]:
    labels = [
        f'{name}="{_escaped(value).replace(chr(34), chr(92) + chr(34))}"'
        for name, value in zip(metric.labels, values, strict=True)
    ]
    if metric.kind is not Kind.HISTOGRAM:
        yield f"{metric.name}{_braced(labels)} {_told(numbers[0], metric.scale)}"
        return
    count = 0
    for place, (bound, more) in enumerate(zip(metric.bounds, numbers[:-2], strict=True)):
        count += more
        if place % metric.told_every == 0:
            le = f'le="{_told(bound, metric.scale)}"'
            yield f"{metric.name}_bucket{_braced([*labels, le])} {count}"
    count += numbers[-2]
    infinite = 'le="+Inf"'
    yield f"{metric.name}_bucket{_braced([*labels, infinite])} {count}"
    yield f"{metric.name}_sum{_braced(labels)} {_told(numbers[-1], metric.scale)}"
    yield f"{metric.name}_count{_braced(labels)} {count}"


def _braced(labels: Sequence[str]) -> str:
    return "{" + ",".join(labels) + "}" if labels else ""


def _told(kept: int, scale: int) -> str:
    return str(kept) if scale == 1 else repr(kept / scale)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
