"""The status page of a real mount, in a real browser."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium, find_chromium
from mounting import Mount
from s3server import S3Server
from telling import ANY_PORT, SECONDS, settled, status_at, url_of
from trees import zipped

pytestmark = pytest.mark.timeout(600)

HOSTILE = "<img src=x onerror=window.bad=1><script>window.bad=1.zip"
RANDOM = random.Random(8)
MEMBERS = {f"c/{number}": RANDOM.randbytes(1 << 20) for number in range(6)}
PLAIN = RANDOM.randbytes(2 << 20)


@dataclass
class World:
    mount: Mount
    bucket: str
    browser: Chromium

    def shows(self, element: str, text: str) -> None:
        """Wait until an element has that text in it; the page asks every two seconds."""
        script = f"document.getElementById({element!r}).innerText.includes({text!r})"
        self.browser.wait_until(script, seconds=SECONDS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    program = find_chromium()
    if program is None and not os.environ.get("S3ZIPFS_REQUIRE_MINIO"):
        pytest.skip("needs chromium")
    assert program is not None, "no chromium: scripts/bootstrap-system.sh chromium:chromium"
    with Chromium(program) as running:
        yield running


@pytest.fixture
def world(
    s3server: S3Server, s3client: Any, bucket: str, tmp_path: Path, browser: Chromium
) -> Iterator[World]:
    s3client.put_object(Bucket=bucket, Key=HOSTILE, Body=zipped(MEMBERS))
    s3client.put_object(Bucket=bucket, Key="plain.bin", Body=PLAIN)
    options = ("--cache-dir", "none", *ANY_PORT)
    with Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"], *options) as mounted:
        browser.open(url_of(mounted.path))
        there = f"document.getElementById('mountpoint')?.innerText == {str(mounted.path)!r}"
        browser.wait_until(there, seconds=SECONDS)
        yield World(mounted, bucket, browser)


def read_all(mount: Mount) -> None:
    for name, content in MEMBERS.items():
        assert (mount.path / HOSTILE / name).read_bytes() == content
    assert (mount.path / "plain.bin").read_bytes() == PLAIN


def test_the_page_shows_what_was_read_and_draws_it(world: World) -> None:
    world.shows("state", "the store answers")
    world.shows("archives", "none yet")
    read_all(world.mount)
    url = url_of(world.mount.path)
    settled(url)
    told = status_at(url)
    world.shows("archives", f"{world.bucket}/plain.bin\t2.10 MB")
    world.shows("archives", "6.29 MB")
    world.shows("bytes", "read by programs\n8.39 MB")
    world.shows("requests", f"get\tok\t{told['requests']['get']['ok']}")
    world.shows("operations", f"read\t{told['operations']['read']['count']}\t0")
    world.shows("memory", "of 268 MB")
    world.shows("memory", "none are kept")
    world.shows("processes", str(os.getpid()))
    # The line of what was read has left the ground by then.
    drawn = world.browser.evaluate(
        "document.querySelector('#throughput polyline.read').getAttribute('points')"
    )
    heights = [float(point.split(",")[1]) for point in drawn.split()]
    assert len(heights) >= 2
    assert min(heights) < max(heights)
    assert world.browser.evaluate("document.querySelectorAll('#archives rect.read').length") == 2


def test_names_are_text_and_nothing_is_loaded_from_elsewhere(world: World) -> None:
    read_all(world.mount)
    world.shows("archives", f"{world.bucket}/{HOSTILE}")
    assert world.browser.evaluate("typeof window.bad") == "undefined"
    assert world.browser.evaluate("document.querySelectorAll('img, td script').length") == 0
    asked = world.browser.evaluate(
        "performance.getEntriesByType('resource').map((each) => each.name)"
    )
    assert set(asked) == {f"{url_of(world.mount.path)}status.json"}
    added = world.browser.evaluate(
        "(() => { const made = document.createElement('script'); made.textContent = 'window.bad=1';"
        " document.body.append(made); made.remove(); return typeof window.bad; })()"
    )
    assert added == "undefined"  # by the policy


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_in_light_and_dark(world: World, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    world.browser.send("Emulation.setEmulatedMedia", features=features)
    page, text = (brightness(world, name) for name in ("backgroundColor", "color"))
    assert (page > text) == (scheme == "light")
    brighter, darker = max(page, text), min(page, text)
    assert (brighter + 0.05) / (darker + 0.05) >= 7  # WCAG 2.2, 1.4.6: contrast, enhanced


def brightness(world: World, name: str) -> float:
    """Of a colour of the body: its relative luminance (WCAG 2.2)."""
    color = world.browser.evaluate(f"getComputedStyle(document.body).{name}")
    channels = [int(part) / 255 for part in color.removeprefix("rgb(").rstrip(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_durations_are_told_without_exponents(world: World) -> None:
    for seconds, words in ((12345.6, "12,346 s"), (0.99996, "1.00 s"), (0.0123, "12.3 ms")):
        assert world.browser.evaluate(f"seconds({seconds})") == words


def test_a_mount_that_is_gone_is_said(world: World) -> None:
    world.shows("state", "the store answers")
    world.mount.__exit__(None, None, None)
    world.shows("state", "the mount does not answer")
