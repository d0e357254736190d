"""What is counted, and how it is told, on values of which all is known."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from s3zipfs import errors
from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.extents import OVERHEAD, ExtentCache
from s3zipfs.telemetry.durations import BOUNDS, Durations
from s3zipfs.telemetry.figures import (
    DiskFigures,
    DoorFigures,
    Figures,
    MemoryFigures,
    ProcessFigures,
    TreeFigures,
)
from s3zipfs.telemetry.loads import LoadMeter
from s3zipfs.telemetry.objects import ObjectMeter
from s3zipfs.telemetry.operations import OperationMeter
from s3zipfs.telemetry.prometheus import METRICS, registry_of
from s3zipfs.telemetry.requests import RequestMeter, Sent, Verb
from s3zipfs.telemetry.server import StatusServer, content_security_policy
from s3zipfs.telemetry.status import About, status_of

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "monitoring.md"
HOSTILE = '<script>alert("x")</script>\n\ud800'
ABOUT = About("1.2", "/mnt/lab", ("s3://lab",), None, datetime(2026, 1, 2, tzinfo=UTC))


def translated(error: Exception) -> errors.S3ZipError:
    return errors.StoreUnavailable(str(error))


def send(
    requests: RequestMeter, error: BaseException, *, verb: Verb = "get", body: bytes = b""
) -> None:
    """A request that ends so."""
    with contextlib.suppress(type(error)), Sent(requests, verb, "lab", "x", translated) as sent:
        sent.hear(memoryview(body))
        raise error


def figures_of(requests: RequestMeter, objects: ObjectMeter, read: OperationMeter) -> Figures:
    loads = LoadMeter()
    loads.ended("store", 0.5)
    loads.ended("disk", 0.25)
    loads.ended(None, 1.0)
    tree = TreeFigures(
        requests=requests.read(),
        retries=3,
        breakers={"http://a": "open", "http://b": "closed"},
        memory=MemoryFigures(1000, 400, 70, 60, 50, 5),
        disk=DiskFigures("/cache", 2000, None, 11, 12, 1),
        loads=loads.read(),
        archives_open=2,
        bytes_read=objects.bytes_read,
        hottest=objects.hottest(10),
    )
    door = DoorFigures({"read": read.read()}, under_way=1, open_directories=2, inodes=9)
    return Figures(tree, door, (ProcessFigures("zsh", 7, 1, 2, 3, 4, "slowed"),))


@pytest.fixture
def figures() -> Figures:
    objects, read = ObjectMeter(), OperationMeter()
    requests = RequestMeter(objects)
    with Sent(requests, "get", "lab", HOSTILE, translated) as sent:
        assert requests.read().under_way == 1
        sent.hear(memoryview(bytes(80)))
    send(requests, ValueError("of a library"), verb="list")
    objects.read("lab", HOSTILE, 100)
    read.ended(0.002, waited=True)
    read.ended(0.02, waited=False)
    read.failed("EIO")
    return figures_of(requests, objects, read)


def samples(text: str) -> Mapping[str, float]:
    """By name and labels."""
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_prometheus_text_says_what_the_figures_say(figures: Figures) -> None:
    told = samples(generate_latest(registry_of(lambda: figures, "1.2")).decode())
    assert told["s3zipfs_info['1.2']"] == 1
    assert told["s3zipfs_operation_duration_seconds_count['read']"] == 2
    assert told["s3zipfs_operation_duration_seconds_sum['read']"] == pytest.approx(0.022)
    below = "s3zipfs_operation_duration_seconds_bucket"
    assert [told[f"{below}['{bound}', 'read']"] for bound in (0.001, 0.0025, 0.025)] == [0, 1, 2]
    assert told[f"{below}['+Inf', 'read']"] == 2
    assert told["s3zipfs_operation_errors_total['EIO', 'read']"] == 1
    assert told["s3zipfs_operations_waited_total['read']"] == 1
    assert told["s3zipfs_requests_total['get', 'ok']"] == 1
    assert told["s3zipfs_requests_total['list', 'unavailable']"] == 1
    assert told["s3zipfs_request_retries_total[]"] == 3
    assert told["s3zipfs_fetched_bytes_total[]"] == 80
    assert told["s3zipfs_read_bytes_total[]"] == 100
    assert told["s3zipfs_breaker_state['http://a', 'open']"] == 1
    assert told["s3zipfs_breaker_state['closed', 'http://a']"] == 0
    assert told["s3zipfs_breaker_state['closed', 'http://b']"] == 1
    assert told["s3zipfs_memory_used_bytes[]"] == 400
    assert told["s3zipfs_index_load_duration_seconds_count['disk']"] == 1
    assert told["s3zipfs_index_load_failures_total[]"] == 1
    assert told["process_resident_memory_bytes[]"] > 1 << 20
    assert "s3zipfs_disk_used_bytes[]" not in told  # it is not known


def test_each_metric_is_told_under_its_name_and_type_and_in_openmetrics_too(
    figures: Figures,
) -> None:
    registry = registry_of(lambda: figures, "1.2")
    plain = {
        each.name: each
        for each in text_string_to_metric_families(generate_latest(registry).decode())
    }
    strict = {
        each.name: each
        for each in openmetrics_families(exposition.generate_latest(registry).decode())
    }
    for metric in METRICS:
        family = metric.name.removesuffix("_total")
        assert plain[family].type == strict[family].type == metric.type
        assert plain[family].documentation == metric.meaning


def test_no_name_of_an_object_is_in_the_metrics(figures: Figures) -> None:
    assert "alert" not in generate_latest(registry_of(lambda: figures, "1.2")).decode()


def test_the_status_is_json_and_has_all_figures(figures: Figures) -> None:
    status = json.loads(json.dumps(status_of(ABOUT, figures, uptime=2.5)))
    assert (status["mountpoint"], status["sources"]) == ("/mnt/lab", ["s3://lab"])
    assert (status["started"], status["uptime_seconds"]) == ("2026-01-02T00:00:00+00:00", 2.5)
    assert status["endpoints"] == {
        "http://a": {"breaker": "open"},
        "http://b": {"breaker": "closed"},
    }
    assert status["operations"]["read"] == {"count": 2, "errors": 1, "waited": 1, "seconds": 0.022}
    assert status["requests"] == {
        "get": {"ok": 1},
        "head": {},
        "list": {"unavailable": 1},
        "list_buckets": {},
    }
    assert status["retries"] == 3
    assert status["bytes"] == {
        "fetched": 80,
        "read": 100,
        "from_memory": 70,
        "from_disk": 11,
        "read_ahead": 60,
        "read_ahead_used": 50,
        "read_ahead_wasted": 5,
    }
    assert status["indexes"] == {
        "loaded": 2,
        "from_disk": 1,
        "failed": 1,
        "seconds": 0.75,
        "open": 2,
    }
    assert status["memory"].pop("rss_bytes") > 1 << 20
    assert status["memory"] == {"budget_bytes": 1000, "used_bytes": 400}
    assert status["cache"] == {"directory": "/cache", "bytes": None, "limit_bytes": 2000}
    assert (status["open_handles"], status["under_way"], status["inodes"]) == (2, 1, 9)
    assert status["archives"] == [
        {"bucket": "lab", "key": HOSTILE, "bytes_read": 100, "bytes_fetched": 80, "requests": 1}
    ]
    assert status["processes"] == [
        {
            "name": "zsh",
            "pid": 7,
            "operations": 1,
            "bytes_read": 2,
            "archives_opened": 3,
            "requests": 4,
            "state": "slowed",
        }
    ]


def test_durations_are_counted_up_to_their_bound_and_above_the_last() -> None:
    durations = Durations()
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] * 1.01, BOUNDS[-1], BOUNDS[-1] + 1):
        durations.add(seconds)
    counts = durations.read().counts
    assert (counts[0], counts[1], counts[-2], counts[-1]) == (2, 1, 1, 1)
    assert sum(counts) == durations.read().count == 5


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.NotFound("x"), "not_found"),
        (errors.AccessDenied("x"), "denied"),
        (errors.ObjectChanged("x"), "changed"),
        (errors.DeadlineExceeded("x"), "timeout"),
        (errors.EndpointUnreachable("x"), "unavailable"),
        (errors.ClockDiffers("x"), "bad_response"),
        (errors.OutOfResources("x"), "other"),
        (ValueError("of a library"), "unavailable"),
        (asyncio.CancelledError(), "timeout"),
        (KeyboardInterrupt(), "other"),
    ],
)
def test_how_a_request_ended_is_one_word(error: BaseException, outcome: str) -> None:
    requests = RequestMeter()
    send(requests, error, verb="head")
    read = requests.read()
    assert read.outcomes["head"] == {outcome: 1}
    assert (read.under_way, read.durations["head"].count) == (0, 1)


def test_bytes_of_a_body_that_broke_are_counted() -> None:
    objects = ObjectMeter()
    requests = RequestMeter(objects)
    send(requests, errors.StoreUnavailable("broke"), body=bytes(7))
    assert requests.read().bytes_fetched == 7
    (found,) = objects.hottest(10)
    assert (found.bytes_fetched, found.requests) == (7, 1)


def test_the_hottest_objects_stay_however_many_there_are() -> None:
    objects = ObjectMeter(most=10)
    objects.read("lab", "hot", 1000)
    objects.fetched("lab", "warm", 500)
    for number in range(1000):
        objects.read("lab", f"cold/{number}", 1)
    assert [each.key for each in objects.hottest(2)] == ["hot", "warm"]
    assert len(objects.hottest(1000)) <= 10
    assert objects.bytes_read == 2000


def test_what_is_fetched_ahead_is_used_or_wasted_or_still_there() -> None:
    cache = ExtentCache(MemoryBudget(1 << 20))
    ahead = cache.claim_ahead("x", 0, 1000, chunk=100)
    assert ahead is not None
    for extent in ahead:
        cache.complete(extent, memoryview(bytes(extent.end - extent.start)))
    cache.claim("x", 0, 250, chunk=100)
    counts = cache.counts
    assert (counts.found, counts.ahead) == (250, 1000)
    assert (counts.ahead_used, counts.ahead_wasted) == (300, 0)
    cache.discard("x")
    assert (cache.counts.ahead_used, cache.counts.ahead_wasted) == (300, 700)


def test_what_is_inflated_ahead_counts_as_well() -> None:
    cache = ExtentCache(MemoryBudget(10 * OVERHEAD))
    assert cache.keep("x", 0, memoryview(bytes(100)), asked=None)
    assert cache.keep("x", 100, memoryview(bytes(50)), asked=150)
    assert cache.peek("x", 0, 150) is not None
    counts = cache.counts
    assert (counts.found, counts.ahead, counts.ahead_used) == (150, 100, 100)


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_what_can_be_no_host_is_told_as_such(host: str) -> None:
    with pytest.raises(errors.MountError, match=re.escape(f"--metrics {host}:0: no name")):
        StatusServer(host, 0)


def test_a_page_may_run_its_own_script_only() -> None:
    policy = content_security_policy("<style>a{}</style><script>let x;</script>")
    assert "default-src 'none'" in policy
    assert len(re.findall(r"'sha256-[\w+/]{43}='", policy)) == 2
    assert "unsafe" not in policy


def test_the_documented_metrics_are_those_that_are_told() -> None:
    rows = re.findall(
        r"^\| `(s3zipfs_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", DOCUMENT.read_text(), re.MULTILINE
    )
    expected = [
        (each.name, each.type, ", ".join(f"`{label}`" for label in each.labels), each.meaning)
        for each in METRICS
    ]
    assert rows == expected
