"""The drawing of the rooms in docs/design.md is that of the import contracts."""

from __future__ import annotations

import re
import tomllib

import documented

ROOT = documented.ROOT
UNDRAWN = {"__main__"}
EXPLAINED = 26  # the column from which a room is explained


def layers() -> list[set[str]]:
    """The rooms of the contract, from the top down."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = next(
        each for each in project["tool"]["importlinter"]["contracts"] if each["type"] == "layers"
    )
    return [set(re.split(r" *[|:] *", layer)) - UNDRAWN for layer in contract["layers"]]


def drawn() -> list[list[str]]:
    """The rooms of the drawing, line by line. The last line has no explanations, only names."""
    page = (ROOT / "docs" / "design.md").read_text()
    drawing = next(documented.blocks(page.partition("\n## The rooms\n")[2])).text
    *rooms, small = drawing.splitlines()
    names = [re.findall(r"(\w+)(?:/|\.py)", line[:EXPLAINED]) for line in rooms]
    return [*names, small.split()]


def test_each_room_is_drawn_once_and_no_other() -> None:
    names = [name for line in drawn() for name in line]
    assert sorted(names) == sorted(set().union(*layers()))


def test_a_line_never_imports_from_those_above() -> None:
    depth = {name: number for number, layer in enumerate(layers()) for name in layer}
    lines = drawn()[:-1]  # the last has small modules of several layers
    depths = [[depth[name] for name in line] for line in lines]
    assert all(len(set(line)) == 1 for line in depths), "rooms of one line are of one layer"
    assert depths == sorted(depths)


def test_the_small_modules_are_below_all_rooms() -> None:
    depth = {name: number for number, layer in enumerate(layers()) for name in layer}
    *rooms, small = drawn()
    lowest = max(depth[name] for line in rooms for name in line)
    assert min(depth[name] for name in small) > lowest
