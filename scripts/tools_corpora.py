"""Zips that other projects test themselves with, into .tools/corpora: `make corpora`.

Nothing of them is committed: each is fetched, in one exact version, by the client that its
ecosystem has. Of each only what is a zip, or pretends to be, is taken. A corpus without its
client, or offline, is skipped with a line that says why; S3ZIPFS_REQUIRE_MINIO=1 makes that a
failure, as for all tools.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / ".tools" / "corpora"
CRATES = {"astral_async_zip": "0.0.22", "rawzip": "0.5.2", "async_zip": "0.0.19"}
COMMONS_COMPRESS = "1.28.0"
CLIENT_SECONDS = 300.0
NAMES = (".zip", ".jar", ".apk", ".whl", ".egg")
END_WINDOW = 66_000  # bytes in which an end of central directory record is looked for


class Skipped(Exception):
    """The corpus cannot be had here; `str()` says why."""


def run(*command: str, cwd: Path | None = None) -> str:
    """What a client prints. Its own diagnosis is the reason where it fails."""
    if shutil.which(command[0]) is None:
        raise Skipped(f"there is no {command[0]}")
    environment = os.environ | {"CARGO_NET_RETRY": "1", "GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Skipped(f"{command[0]} did not end within {CLIENT_SECONDS:g} s") from None
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["no word from it"]
        raise Skipped(f"{command[0]} failed: {lines[-1]}")
    return done.stdout


def is_zip_like(path: Path) -> bool:
    """Whether it is a zip by its name, its beginning or its end."""
    if path.suffix.lower() in NAMES:
        return True
    with path.open("rb") as file:
        begins = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
        file.seek(max(0, path.stat().st_size - END_WINDOW))
        return begins or b"PK\x05\x06" in file.read()


def take(source: Path, target: Path) -> None:
    """Copy what is a zip, or pretends to be; Go keeps those that scanners dislike in base64."""
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        if "__pycache__" in path.parts:
            continue
        to = target / path.relative_to(source)
        if path.suffix == ".base64":
            content = base64.b64decode(path.read_bytes())
            to = to.with_suffix("")
        elif is_zip_like(path):
            content = path.read_bytes()
        else:
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(content)


def fetch_go(target: Path) -> None:
    """The tests of Go's own archive/zip."""
    source = Path(run("go", "env", "GOROOT").strip()) / "src/archive/zip/testdata"
    if not source.is_dir():
        raise Skipped(f"this Go has no {source}")
    take(source, target)


def fetch_crate(name: str, target: Path) -> None:
    """The tests inside one published crate."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "lib.rs").touch()
        (folder / "Cargo.toml").write_text(
            '[package]\nname = "corpora"\nversion = "0.0.0"\nedition = "2021"\n'
            '[lib]\npath = "lib.rs"\n[dependencies]\n'
            f'{name} = {{ version = "={CRATES[name]}", default-features = false }}\n'
        )
        run("cargo", "vendor", "--quiet", "vendor", cwd=folder)
        take(folder / "vendor" / name, target)


def fetch_commons_compress(target: Path) -> None:
    """The jar of the tests of Apache Commons Compress."""
    artifact = f"org.apache.commons:commons-compress:{COMMONS_COMPRESS}:jar:tests"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        goal = "dependency:copy"
        run("mvn", "-q", "-B", goal, f"-Dartifact={artifact}", f"-DoutputDirectory={folder}")
        (jar,) = folder.glob("*.jar")
        with zipfile.ZipFile(jar) as archive:
            archive.extractall(folder / "tests")
        take(folder / "tests", target)


def fetch_python(target: Path) -> None:
    """The test folder of this interpreter."""
    spec = find_spec("test")
    if spec is None or spec.submodule_search_locations is None:
        raise Skipped("this Python came without its tests")
    for folder in spec.submodule_search_locations:
        take(Path(folder), target)


def version_of(name: str) -> str:
    """What is fetched, or would be."""
    if name == "go":
        return run("go", "env", "GOVERSION").strip()
    if name == "python":
        return sys.version
    return CRATES.get(name, COMMONS_COMPRESS)


FETCH: dict[str, Callable[[Path], None]] = {
    "go": fetch_go,
    "commons-compress": fetch_commons_compress,
    "python": fetch_python,
    **{name: partial(fetch_crate, name) for name in CRATES},
}


def ensure(name: str, version: str, fetch: Callable[[Path], None]) -> None:
    """Fetch a corpus, unless that version of it is here already."""
    target, stamp = TARGET / name, TARGET / f"{name}.version"
    if target.is_dir() and stamp.is_file() and stamp.read_text() == version:
        return
    stamp.unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=TARGET) as scratch:
        made = Path(scratch) / name
        fetch(made)
        made.rename(target)
    stamp.write_text(version)
    files = sum(p.is_file() for p in target.rglob("*"))
    print(f"corpora: {name} {version.split(maxsplit=1)[0]}: {files} files")


def main() -> None:
    """Fetch what is missing; the exit status tells where nothing may be skipped."""
    TARGET.mkdir(parents=True, exist_ok=True)
    skipped = 0
    for name, fetch in FETCH.items():
        try:
            ensure(name, version_of(name), fetch)
        except (Skipped, OSError, ValueError, zipfile.BadZipFile) as reason:
            skipped += 1
            print(f"corpora: {name} skipped: {reason}", file=sys.stderr)
    if skipped and os.environ.get("S3ZIPFS_REQUIRE_MINIO") == "1":
        raise SystemExit("corpora: none may be skipped where S3ZIPFS_REQUIRE_MINIO=1")


if __name__ == "__main__":
    main()
