"""What a mount under test tells of itself: in its files, and at the address of `--metrics`."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mounting import wait_until
from prometheus_client.parser import text_string_to_metric_families

SECONDS = 60.0

ANY_PORT = ("--metrics", "127.0.0.1:0")


def status(mount: Path) -> dict[str, Any]:
    """`.s3zipfs/status.json` of a mount."""
    found: dict[str, Any] = json.loads((mount / ".s3zipfs/status.json").read_bytes())
    return found


def status_at(url: str) -> dict[str, Any]:
    """`/status.json`, which asks nothing of the mount that would count."""
    found: dict[str, Any] = json.loads(get(f"{url}status.json")[2])
    return found


def url_of(mount: Path) -> str:
    """The address at which it tells, with a `/` at the end."""
    url = status(mount)["metrics"]
    assert isinstance(url, str)
    return url


def get(
    url: str, headers: Mapping[str, str] | None = None, *, method: str = "GET"
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Status, headers and body of an answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=SECONDS)
    try:
        connection.request(method, parts.path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


Sample = tuple[str, frozenset[tuple[str, str]]]


def parsed(text: str) -> dict[Sample, float]:
    """What Prometheus' own parser finds."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def metrics(url: str) -> dict[Sample, float]:
    """What is told at `/metrics`."""
    code, _, body = get(f"{url}metrics")
    assert code == 200
    return parsed(body.decode())


def value(found: Mapping[Sample, float], name: str, **labels: str) -> float:
    """One sample; 0 where it was not counted yet."""
    return found.get((name, frozenset(labels.items())), 0.0)


def total(found: Mapping[Sample, float], name: str, **labels: str) -> float:
    """All samples of a name that have these labels."""
    wanted = set(labels.items())
    return sum(v for (each, has), v in found.items() if each == name and wanted <= has)


def settled(url: str) -> dict[Sample, float]:
    """The metrics once nothing is under way any more: what is read ahead comes behind the answer.

    An operation ends a moment after its answer.
    """

    def is_quiet() -> bool:
        found = metrics(url)
        under_way = ("s3zipfs_requests_under_way", "s3zipfs_operations_under_way")
        return not any(value(found, name) for name in under_way)

    wait_until(is_quiet, seconds=SECONDS, what="nothing under way")
    return metrics(url)
