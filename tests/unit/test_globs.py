"""Patterns of paths: what they take, and where they are still worth following."""

from __future__ import annotations

import pytest

from s3zipfs.tree.globs import Globs, parse_globs


def after(patterns: list[str], path: str) -> Globs:
    at = parse_globs(patterns)
    for name in path.encode().split(b"/"):
        at = at.enter(name)
    return at


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a", "a"),
        ("a", "a/b/c"),
        ("*.zip", "x.zip"),
        ("/runs/*.zip/", "runs/x.zip/0/0"),
        ("a?[0-9]", "ab7"),
        ("**", "a/b"),
        ("**/c", "c"),
        ("**/c", "a/b/c"),
        ("a/**/c", "a/c"),
        ("a/**/c", "a/b/b/c/d"),
        ("a/**", "a/b"),
        ("a/**", "a"),
    ],
)
def test_what_matches_is_taken_with_all_below_it(pattern: str, path: str) -> None:
    assert after([pattern], path).takes_all


@pytest.mark.parametrize(
    ("pattern", "path", "may_match"),
    [
        ("runs/*.zip", "runs", True),
        ("runs/*.zip", "runs/a/x.zip", False),  # * is one name
        ("*.zip", "x.ZIP", False),
        ("a/b", "b", False),
        ("**/c", "a/b", True),
        ("a/**/c", "b", False),
    ],
)
def test_what_does_not_match_is_followed_only_where_more_may(
    pattern: str, path: str, may_match: bool
) -> None:
    found = after([pattern], path)
    assert not found.takes_all
    assert found.may_match is may_match


def test_one_of_several_patterns_is_enough_and_none_takes_all() -> None:
    assert after(["a", "b/*"], "b/c").takes_all
    assert parse_globs([]).takes_all


def test_a_name_that_is_not_utf8_is_matched_by_a_star() -> None:
    assert parse_globs(["*.zip"]).enter(b"\xff.zip").takes_all
