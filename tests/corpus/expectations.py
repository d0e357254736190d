"""The table of what each file of the corpora is: `expectations.toml`, read, compared, extended.

    ["go/dupdir.zip"]
    sha256 = "0b2ee7…"                           # its first 16 digits: another file is not judged
    members = ["SIZE CRC32 name", "-> target name", "directory name/"]
    damaged = { "name" = "Class: part of the text" }    # "*": all others of `damaged_count`
    zipfile = "why the standard library shows something else"
    note = "what unzip, bsdtar and others do, and why this is right"

Only directories that hold nothing are members. Of more than 20 there is a `count`, and a `digest`
of the lines. An archive that is not opened has `refused` in the place of members.

`python -m corpus.expectations` prints what is missing, for someone to judge: what is found is not
therefore right.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpus.isolated import Isolated, Report

CORPORA = Path(__file__).resolve().parents[2] / ".tools" / "corpora"
TABLE = Path(__file__).with_suffix(".toml")
LISTED = 20  # members, above which there is a digest

# Of these exactly one version is fetched, so that nothing of the table may be missing.
PINNED = ("astral_async_zip", "async_zip", "commons-compress", "rawzip")


@dataclass(frozen=True)
class Expectation:
    """One row."""

    sha256: str
    refused: str | None = None
    members: tuple[str, ...] | None = None
    count: int | None = None
    digest: str | None = None
    damaged: dict[str, str] = field(default_factory=dict)
    damaged_count: int | None = None
    zipfile: str | None = None
    note: str | None = None

    def differs(self, report: Report) -> str | None:
        """In what the report is not what was expected."""
        if report.fault:
            return report.fault
        if self.refused is not None:
            if report.refused is None:
                return f"accepted, with {len(report.members)} members"
            return None if _fits(f"BadArchive: {self.refused}", report.refused) else report.refused
        if report.refused is not None:
            return report.refused
        sound, damaged = split(report)
        if self.members is not None and list(self.members) != sound:
            return f"members {sound}"
        if self.count is not None and (self.count, self.digest) != (len(sound), digest(sound)):
            return f"{len(sound)} members of digest {digest(sound)}"
        return self._differing_damage(damaged)

    def _differing_damage(self, damaged: dict[str, str]) -> str | None:
        wanted = dict(self.damaged)
        count = len(wanted)
        if (others := wanted.pop("*", None)) is not None:
            count = self.damaged_count or 0
            wanted = dict.fromkeys(damaged, others) | wanted
        if set(wanted) != set(damaged) or count != len(damaged):
            return f"damaged {damaged}"
        return next((damaged[n] for n in wanted if not _fits(wanted[n], damaged[n])), None)


def _fits(wanted: str, found: str) -> bool:
    kind, _, part = wanted.partition(": ")
    return found.startswith(f"{kind}: ") and part in found


def load() -> dict[str, Expectation]:
    """All rows, by the file's path below the corpora."""
    rows: dict[str, dict[str, Any]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    for row in rows.values():
        if "members" in row:
            row["members"] = tuple(row["members"])
    return {path: Expectation(**row) for path, row in rows.items()}


def files() -> dict[str, Path]:
    """All files that are here, by their path below the corpora."""
    found = (p for p in CORPORA.glob("*/**/*") if p.is_file())
    return {str(p.relative_to(CORPORA)): p for p in sorted(found)}


def fingerprint(path: Path) -> str:
    """The first 16 digits of the file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def split(report: Report) -> tuple[list[str], dict[str, str]]:
    """The lines of the sound members, and the damaged ones with their errors."""
    sound, damaged = [], {}
    for name, found in report.members.items():
        if _is_error(found):
            damaged[name] = found
        else:
            sound.append(f"{found} {name}")
    return sound, damaged


def digest(lines: list[str]) -> str:
    """Of the lines of an archive's members."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def read_by_zipfile(path: Path) -> dict[str, str] | None:
    """What the standard library makes of the file: `SIZE CRC32` by name, or None: refused."""
    found: dict[str, str] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    found[info.filename] = _read_by_zipfile(archive, info)
    except Exception:  # noqa: BLE001 - it raises all kinds, and each is a refusal
        return None
    return found


def agrees(report: Report, theirs: dict[str, str] | None) -> bool:
    """Whether the standard library shows the same files with the same content."""
    if report.refused is not None or theirs is None:
        return report.refused is not None and theirs is None
    ours = {n: v for n, v in report.members.items() if v != "directory"}
    if set(ours) != set(theirs):
        return False
    links = {n for n, v in ours.items() if v.startswith("->")}  # they give the target as content
    return all(
        n in links or v == theirs[n] or (_is_error(v) and theirs[n] == "error")
        for n, v in ours.items()
    )


def _read_by_zipfile(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    size = crc32 = 0
    try:
        with archive.open(info) as member:
            while piece := member.read(1 << 20):
                size += len(piece)
                crc32 = zlib.crc32(piece, crc32)
    except Exception:  # noqa: BLE001 - as above
        return "error"
    return f"{size} {crc32:08x}"


def _is_error(found: str) -> bool:
    return (
        found != "directory"
        and not found.startswith("->")
        and ":" in found.split(" ", maxsplit=1)[0]
    )


def _row(name: str, path: Path, report: Report) -> str:
    lines = [f"[{_quoted(name)}]", f'sha256 = "{fingerprint(path)}"']
    sound, damaged = split(report)
    if report.fault or report.refused:
        lines.append(f"refused = {_quoted(report.fault or report.refused or '')}")
    elif len(sound) > LISTED:
        lines += [f"count = {len(sound)}", f'digest = "{digest(sound)}"']
    else:
        lines += ["members = [", *(f"  {_quoted(line)}," for line in sound), "]"]
    if damaged:
        faults = ", ".join(f"{_quoted(n)} = {_quoted(text)}" for n, text in damaged.items())
        lines.append(f"damaged = {{ {faults} }}")
    if not agrees(report, read_by_zipfile(path)):
        lines.append('zipfile = "differs: judge who is right"')
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a basic string of TOML as well


def main() -> None:
    """Print a row for each file that has none."""
    known = load() if TABLE.exists() else {}
    with Isolated() as isolated:
        for name, path in files().items():
            if name not in known:
                print(_row(name, path, isolated.read(path)))


if __name__ == "__main__":
    main()
