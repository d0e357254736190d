"""Each odd zip of FAULTS B does what the table says."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from corpus import odd_zips
from corpus.odd_zips import ACCEPTED, DAMAGED, REFUSED
from corpus.reading import contents, listing, locate, open_index, read_member

from s3zipfs.errors import BadArchive, BadMember

Maker = Callable[[], bytes]


def _name(maker: Maker) -> str:
    if maker.__name__ == "<lambda>":
        return f"line{inspect.getsourcelines(maker)[1]}"
    return maker.__name__


@pytest.mark.parametrize("maker", ACCEPTED, ids=_name)
def test_accepted_archive_holds_what_it_should(maker: Maker) -> None:
    data = maker()
    assert contents(data, open_index(data)) == ACCEPTED[maker]


@pytest.mark.parametrize("maker", ACCEPTED, ids=_name)
def test_one_byte_pieces_give_the_same_index(maker: Maker) -> None:
    data = maker()
    assert contents(data, open_index(data, piece=1)) == ACCEPTED[maker]


@pytest.mark.parametrize("maker", REFUSED, ids=_name)
def test_broken_archive_is_refused_as_a_whole(maker: Maker) -> None:
    with pytest.raises(BadArchive) as refused:
        open_index(maker())
    assert REFUSED[maker] in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("maker", list(DAMAGED), ids=range(len(DAMAGED)))
def test_damaged_member_fails_alone(maker: Maker) -> None:
    data = maker()
    index = open_index(data)
    failed = set()
    for path, number in listing(index).items():
        try:
            read_member(data, index, number)
        except BadMember:
            failed.add(path)
    assert failed == DAMAGED[maker]


def test_overlap_is_known_before_any_read() -> None:
    index = open_index(odd_zips.quoted_overlap())
    assert [index.damaged(n) for n in (1, 2)] == ["its bytes overlap those of another member"] * 2


def test_inner_stored_zip_is_a_member_not_the_archive() -> None:
    index = open_index(odd_zips.inner_zip_is_stored_last())
    assert set(listing(index)) == {b"hello.txt", b"inner.zip"}


def test_truncation_at_any_byte_is_refused() -> None:
    data = odd_zips.zip64_everywhere()
    for end in range(len(data)):
        with pytest.raises(BadArchive):
            open_index(data[:end])


def test_hidden_names_are_counted() -> None:
    index = open_index(odd_zips.names_to_be_cleaned())
    assert index.hidden_count == 4  # x/../y, NUL, empty, d/..
    assert open_index(odd_zips.devices_and_setuid()).hidden_count == 4


def test_replaced_duplicates_are_counted() -> None:
    assert open_index(odd_zips.duplicates()).duplicate_count == 1


def test_wrapped_entry_count_is_accepted() -> None:
    index = open_index(odd_zips.entry_count_wrapped())
    assert index.member_count == 65537
    assert len(index.children(0)) == 65537


def test_setuid_and_write_bits_are_not_shown() -> None:
    index = open_index(odd_zips.devices_and_setuid())
    assert index.mode(1) == 0o100555


def test_long_component_is_cut_at_a_character_and_marked() -> None:
    index = open_index(odd_zips.long_components())
    first, second = (index.name(n) for n in index.children(0))
    assert first == b"a" * 255
    assert len(second) <= 255
    assert second.decode().startswith("é" * 100)
    assert b"~" in second


def test_explicit_encoding_decodes_undeclared_names() -> None:
    from corpus.raw_zip import Entry, write_zip

    name = "表/図.txt"  # 表 ends in 0x5c, a backslash, in cp932
    data = write_zip([Entry(name.encode("cp932"), b"n", host=0)])
    assert set(listing(open_index(data, encoding="cp932"))) == {"表/".encode(), name.encode()}


def test_longest_comment_still_takes_one_read() -> None:
    assert locate(odd_zips.comment_of_65535_bytes())[1] == 1


def test_short_tail_asks_for_more_and_finds_the_same() -> None:
    data = odd_zips.comment_of_65535_bytes()
    assert locate(data, tail_bytes=1) == (locate(data)[0], 2)


def test_prefix_is_read_only_to_see_what_stands_at_the_recorded_offset() -> None:
    archive = odd_zips.comment_of_65535_bytes()
    assert locate(b"#" * 40_000 + archive)[1] == 1
    assert locate(b"#" * 200_000 + archive)[1] == 2
    assert locate(b"#" * 2_000_000 + archive)[1] == 1
