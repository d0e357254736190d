"""The rows: what is read, how, beside whom, and what must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import chain
import references
import ten_million
import works
from data import Archive, Data
from mounts import OURS, OURS_ON_DISK, PEERS, Store
from works import Outcome, Work

BETTER_PEER = "better peer"
MOST_MEMORY = 400.0  # MB, the peak of any row's daemon at the default budget of 256 MB
RCLONE_AND_RATARMOUNT = ("rclone", "ratarmount")  # where no data is read, or it was read before


@dataclass(frozen=True)
class Figure:
    """One figure of a row, by the name that its work gives it, and what must hold of ours.

    `times` has how many times as good as a system's it must be, `limit` how good in its own unit.
    """

    name: str
    times: Mapping[str, float] = field(default_factory=dict)
    limit: float | None = None
    higher: bool = True  # is better


Reference = Callable[[Store, Archive], Outcome]


@dataclass(frozen=True)
class Row:
    """One row of the table. `references` run on the store itself, without a mount."""

    name: str
    title: str
    data: str
    work: Work | None  # what is done on each mount
    figures: tuple[Figure, ...]
    references: Mapping[str, Reference] = field(default_factory=dict)
    delay: int = 0  # ms that each answer is held back
    ours: str = OURS  # how we are mounted
    peers: tuple[str, ...] = tuple(PEERS)
    repeats: int = 3
    is_counted: bool = True  # by one more run of ours
    most_fetched: float | None = None  # bytes for each of the archive's that is needed
    most_gets: float | None = None  # GETs for each MiB that is read
    by_default: bool = True


def all_rows(data: Data) -> dict[str, Row]:
    """All rows, by name, in the order in which they run."""
    rows = [*_stored(), *_deflated(), *_small(), *_small_again(), *_zarr(data)]
    rows += [*_fsspec(data), *_many()]
    return {row.name: row for row in rows}


def _better(name: str, *, limit: float | None = None, **times: float) -> Figure:
    names = {"peers": BETTER_PEER, "gets": "GETs", "isal": "isal alone", "file": "local file"}
    return Figure(name, {names.get(who, who): ratio for who, ratio in times.items()}, limit)


def _stored() -> list[Row]:
    gets: dict[str, Reference] = {"GETs": lambda s, a: works.rate(references.get_big(s, a))}
    file: dict[str, Reference] = {"local file": lambda _, a: works.rate(references.read_local(a))}
    cold = partial(Row, data="big", references=gets, most_fetched=1.05, most_gets=1)
    restart = (
        _better("after a restart, MB/s"),
        _better("gain over cold", limit=1.3),
    )
    return [
        cold(
            "stored_cold",
            "1 GiB stored, cold",
            work=works.whole(),
            figures=(_better("MB/s", peers=2.5, gets=0.5),),
        ),
        cold(
            "stored_cold_10ms",
            "… at 10 ms",
            work=works.whole(),
            figures=(_better("MB/s", peers=2, gets=0.6),),
            delay=10,
        ),
        cold(
            "stored_four_readers",
            "… 4 readers at 4 places",
            work=works.whole(4),
            peers=RCLONE_AND_RATARMOUNT,  # without its cache, rclone reads anew up to each place
            figures=(_better("MB/s", peers=3),),
        ),
        Row(
            "stored_again",
            "… again, page cache",
            "big",
            works.whole_again,
            (_better("MB/s", file=0.8),),
            file,
            most_gets=0,
        ),
        Row(
            "stored_restart",
            "… after a restart, disk cache",
            "big",
            works.whole_after_restart,
            restart,
            ours=OURS_ON_DISK,
            peers=("rclone",),
            most_gets=0,
        ),
    ]


def _deflated() -> list[Row]:
    def one_pass(_store: Store, archive: Archive) -> Outcome:
        """What each of the random reads took, if one pass at isal's speed served all."""
        return Outcome({"ms each": references.inflate(archive).seconds / works.RANDOM_READS * 1000})

    isal: dict[str, Reference] = {"isal alone": lambda _, a: works.rate(references.inflate(a))}
    first = Figure("ms each", {BETTER_PEER: 20}, higher=False)
    return [
        Row(
            "deflated_cold",
            "585 MB deflated, cold",
            "csv",
            works.whole(),
            (_better("MB/s", peers=2, isal=0.45),),
            isal,
            most_fetched=1.05,
        ),
        Row(
            "deflated_random",
            "… 100 random 64 KiB reads, first visit",
            "csv",
            works.random_reads,
            (first,),
            {"one isal pass": one_pass},
            peers=RCLONE_AND_RATARMOUNT,
        ),
        Row(
            "deflated_indexed",
            "… with persisted index, after a restart",
            "csv",
            works.random_reads_after_restart,
            (Figure("ms each", limit=20, higher=False),),
            peers=(),
        ),
    ]


def _small() -> list[Row]:
    def gets(count: int) -> dict[str, Reference]:
        def get(store: Store, archive: Archive) -> Outcome:
            numbers = works.random_numbers(archive, count)
            return works.pace(references.get_small(store, archive, numbers))

        return {"GETs": get}

    opened = Figure("open + ls, s", higher=False)
    stored = partial(Row, data="small", peers=RCLONE_AND_RATARMOUNT)
    deflated = partial(Row, data="smalldef", peers=RCLONE_AND_RATARMOUNT)
    in_order = partial(stored, most_fetched=1.05, most_gets=1)
    at_random = partial(
        stored, work=works.small_random(2000, 16), references=gets(2000), most_fetched=2
    )
    return [
        in_order(
            "small_in_order_1",
            "64 KiB stored in order, 1 reader",
            work=works.small_in_order(2000, 1),
            figures=(_better("files/s", peers=3), opened),
        ),
        in_order(
            "small_in_order_16",
            "… 16 readers",
            work=works.small_in_order(4000, 16),
            figures=(_better("files/s", peers=2.5),),
        ),
        at_random(
            "small_random",
            "… random, 16 readers",
            figures=(_better("files/s", peers=1.8, gets=0.7),),
        ),
        at_random(
            "small_random_10ms",
            "… random, 16 readers, at 10 ms",
            figures=(_better("files/s", peers=2.5),),
            delay=10,
        ),
        deflated(
            "small_deflated_1",
            "20 KB deflated in order, 1 reader",
            work=works.small_in_order(4000, 1),
            figures=(_better("files/s", peers=2), opened),
        ),
        deflated(
            "small_deflated_16",
            "… 16 readers",
            work=works.small_in_order(4000, 16),
            figures=(_better("files/s", peers=2),),
        ),
    ]


def _small_again() -> list[Row]:
    stored = partial(Row, data="small", peers=RCLONE_AND_RATARMOUNT)
    return [
        stored(
            "small_again",
            "64 KiB stored, already read, 16 readers",
            work=works.small_again(4000, 16),
            figures=(_better("files/s", peers=5),),
            most_gets=0,
        ),
        stored(
            "missing",
            "missing names",
            work=works.missing,
            figures=(
                _better("first, stat/s", rclone=1),
                _better("again, stat/s", peers=10),
            ),
        ),
        stored(
            "readers64",
            "64 readers for 60 s",
            work=works.many_readers(64, 60),
            figures=(Figure("growth, MB", limit=16, higher=False), Figure("files/s")),
            peers=(),
            repeats=1,
            is_counted=False,
        ),
    ]


def _zarr(data: Data) -> list[Row]:
    def beside(job: works.ZarrJob) -> dict[str, Reference]:
        return {
            "local": lambda _s, _a: job(references.local(data.tree()), data.truth()),
            "ObjectStore": lambda s, _: job(references.object_store(s), data.truth()),
            "FsspecStore": lambda s, _: job(references.fsspec_store(s), data.truth()),
        }

    row = partial(Row, data="zarr", peers=RCLONE_AND_RATARMOUNT)
    whole = partial(
        row,
        work=works.on_mount(works.zarr_whole, data.truth),
        references=beside(works.zarr_whole),
        most_fetched=1.05,
    )
    points = partial(
        row,
        work=works.on_mount(works.zarr_points, data.truth),
        references=beside(works.zarr_points),
    )
    opened = Figure("open + 1 chunk, s", higher=False)
    again = _better("second pass, MB/s", local=0.9)
    column = Figure("column, ms", higher=False)
    point_10ms = Figure("point, ms", {"ObjectStore": 1}, higher=False)
    return [
        whole(
            "zarr",
            "Zarr 3, 512³ float32, whole",
            figures=(_better("whole, MB/s", ObjectStore=1, rclone=1.2), again, opened),
        ),
        whole(
            "zarr_10ms",
            "… at 10 ms",
            figures=(_better("whole, MB/s", ObjectStore=1), opened),
            delay=10,
        ),
        points(
            "zarr_points",
            "… single points and a column",
            figures=(Figure("point, ms", higher=False), column),
        ),
        points(
            "zarr_points_10ms",
            "… single points and a column, at 10 ms",
            figures=(point_10ms, column),
            delay=10,
        ),
    ]


def _fsspec(data: Data) -> list[Row]:
    def beside(run: Callable[[Store, Archive, Path, Archive], Outcome]) -> Reference:
        def reference(store: Store, archive: Archive) -> Outcome:
            data.upload("small", store)
            return run(store, archive, data.truth(), data.archive("small"))

        return reference

    def figure(name: str, times: float | None = None, *, higher: bool = True) -> Figure:
        return Figure(name, {} if times is None else {chain.CHAIN: times}, higher=higher)

    return [
        Row(
            "zarr_s3zip",
            "Zarr 3, 512³ float32, by s3zip:// without a mount",
            "zarr",
            None,
            (
                _better("whole, MB/s", ObjectStore=1),
                Figure("second pass, MB/s"),
                Figure("open + 1 chunk, s", higher=False),
            ),
            {
                OURS: lambda s, a: works.zarr_whole(references.s3zip(s, a), data.truth()),
                "ObjectStore": lambda s, _: works.zarr_whole(
                    references.object_store(s), data.truth()
                ),
            },
            is_counted=False,
        ),
        Row(
            "fsspec_chain",
            "s3fs → ZipFileSystem → FSMap",
            "zarr",
            None,
            (
                figure("open + 1 chunk, s", 3, higher=False),
                figure("open of 20,000 members, s", 3, higher=False),
                figure("point, ms", 10, higher=False),
                figure("whole, MB/s", 1.3),
                figure("16 threads, files/s", 50),
            ),
            {OURS: beside(chain.ours), chain.CHAIN: beside(chain.theirs)},
            is_counted=False,
        ),
    ]


def _many() -> list[Row]:
    figures = (
        Figure("first ls, s", higher=False),
        Figure("random look-ups/s"),
        Figure("walk, entries/s"),
        Figure("second walk, entries/s"),
        Figure("stat of everything, /s"),
    )
    row = partial(Row, data="million", figures=figures, repeats=1)
    return [
        row("million", "a million members", work=works.million, peers=RCLONE_AND_RATARMOUNT),
        row(
            "million_restart",
            "… with persisted index, after a restart",
            work=works.million_after_restart,
            peers=(),
        ),
        Row(
            "ten_million",
            "ten million members, in process",
            "",
            None,
            (
                Figure("open and list, s", higher=False),
                Figure("look-ups of whole paths/s"),
                Figure("peak RSS, MB", higher=False),
            ),
            {OURS: lambda _s, _a: ten_million.run()},  # no mount: the tree itself
            repeats=1,
            is_counted=False,
            by_default=False,
        ),
    ]
