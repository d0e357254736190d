"""One tree over several stores: each object is asked from its own, and nothing is mixed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trees import WAIT, read, zipped

import s3zipfs.build
from s3zipfs.build import build_tree
from s3zipfs.errors import SettingsError
from s3zipfs.fuse.inodes import Inodes
from s3zipfs.settings import Settings, Source
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.stores.routing import Route, RoutedStores
from s3zipfs.tree.tree import Tree

ONE, TWO = "http://one:9000", "http://two:9000"
SAME_ETAG = '"0123456789abcdef0123456789abcdef"'


class Named(MemoryStore):
    """A store at an endpoint; `keys` are the credentials that it was opened with."""

    def __init__(self, endpoint: str, keys: str | None = None) -> None:
        super().__init__()
        self._endpoint = endpoint
        self.keys = keys

    @property
    def endpoint(self) -> str:
        return self._endpoint

    async def reload_credentials(self) -> bool:
        return False


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str | None], Named]:
    """What stands in for S3, by endpoint and profile; each is opened once."""
    opened: dict[tuple[str, str | None], Named] = {}

    def open_store(settings: Settings, _reread: Any, _requests: Any) -> Named:
        key = (settings.endpoint_url or "", settings.profile)
        assert key not in opened, "opened twice"
        opened[key] = store = Named(*key)
        store.put("lab", "x.zip", zipped({"who": repr(key).encode()}), etag=SAME_ETAG)
        store.put("lab", "in/plain", f"{key}".encode(), etag=SAME_ETAG)
        store.put("lab", "in/deep/x.zip", zipped({"who": repr(key).encode()}), etag=SAME_ETAG)
        return store

    monkeypatch.setattr(s3zipfs.build, "S3Store", open_store)
    return opened


@contextlib.contextmanager
def tree_of(*sources: Source, **settings: Any) -> Iterator[Tree]:
    with contextlib.closing(build_tree(Settings(**settings), sources)) as tree:
        yield tree


def names(tree: Tree) -> list[str]:
    return [entry.name.decode() for entry in tree.entries(tree.root, WAIT)]


def test_the_same_names_and_etags_at_two_endpoints_are_other_bytes(
    stores: dict[tuple[str, str | None], Named], tmp_path: Path
) -> None:
    sources = [Source(url="s3://lab", name=n, endpoint_url=e) for n, e in (("a", ONE), ("b", TWO))]
    for ordered in (sources, sources[::-1]):
        stores.clear()  # the second time from what the first has left on disk
        with tree_of(*ordered, cache_dir=tmp_path, cache_size=64 << 20) as tree:
            for _ in range(2):
                for name, endpoint in ((b"a", ONE), (b"b", TWO)):
                    key = (endpoint, None)
                    assert read(tree, name + b"/x.zip/who") == repr(key).encode()
                    assert read(tree, name + b"/in/plain") == str(key).encode()
                    assert read(tree, name + b"/x.zip@" + SAME_ETAG[1:-1].encode() + b"/who")
            tree.flush(20)
            inodes = Inodes(tree.root)
            for path in (b"", b"/in", b"/x.zip", b"/in/plain"):
                nodes = [tree.resolve(name + path, WAIT) for name in (b"a", b"b")]
                assert nodes[0] != nodes[1]
                assert inodes.number(nodes[0]) != inodes.number(nodes[1])


def test_sources_that_are_reached_in_the_same_way_share_a_store(
    stores: dict[tuple[str, str | None], Named],
) -> None:
    sources = [
        Source(url="s3://lab/in"),
        Source(url="s3://lab"),
        Source(url="s3://lab/in/deep", profile="guest"),
        Source(url="s3://lab", name="other", endpoint_url=TWO, profile="guest"),
    ]
    with tree_of(*sources, endpoint_url=ONE) as tree:
        assert names(tree) == ["in", "lab", "deep", "other"]
        assert list(stores) == [(ONE, None), (ONE, "guest"), (TWO, "guest")]
        # One prefix, one store, by whichever way it is reached.
        assert read(tree, b"deep/x.zip/who") == repr((ONE, "guest")).encode()
        assert read(tree, b"lab/in/deep/x.zip/who") == repr((ONE, "guest")).encode()
        assert read(tree, b"lab/in/plain") == str((ONE, None)).encode()
        assert read(tree, b"other/in/deep/x.zip/who") == repr((TWO, "guest")).encode()


def test_credentials_of_a_source_are_all_its_own(
    stores: dict[tuple[str, str | None], Named],
) -> None:
    mount = Settings(profile="mine", endpoint_url=ONE, region="eu-1")
    own = mount.of(Source(url="s3://lab", anonymous=True))
    assert (own.profile, own.anonymous, own.region, own.endpoint_url) == (None, True, "eu-1", ONE)
    assert mount.of(Source(url="s3://lab", endpoint_url=TWO)).profile == "mine"
    assert not stores


def test_the_same_bucket_of_two_endpoints_gets_names_that_differ(
    stores: dict[tuple[str, str | None], Named],
) -> None:
    labs = (Source(url="s3://lab", endpoint_url=ONE), Source(url="s3://lab"))
    with tree_of(*labs, Source(url="s3://lab/in/"), endpoint_url=TWO) as tree:
        assert names(tree) == ["one:9000-lab", "two:9000-lab", "in"]
    stores.clear()
    with tree_of(Source(url="s3://lab/in"), Source(url="s3://lab/a", name="in")) as tree:
        assert names(tree) == ["lab-in", "in"]


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize(
    ("sources", "text"),
    [
        ([Source(url="s3://lab"), Source(url="s3://lab/", name="b")], "s3://lab/: given twice"),
        (
            [Source(url="s3://a", name="x"), Source(url="s3://b", name="x")],
            "s3://b: another source is called x as well",
        ),
    ],
)
def test_what_cannot_be_told_apart_is_refused(sources: list[Source], text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{text}$"):
        build_tree(Settings(), sources)


def test_the_longest_prefix_says_which_store() -> None:
    one, two, three = Named(ONE), Named(ONE, "guest"), Named(TWO)
    routes = [Route(one, "lab", ""), Route(two, "lab", "in/"), Route(three, "lab", "in/")]
    stores = RoutedStores(one, routes)
    assert stores.of(ONE, "lab", "in/x") is two
    assert stores.of(ONE, "lab", "inner") is one
    assert stores.of(TWO, "lab", "in/x") is three
    assert list(stores.all) == [one, two, three]
