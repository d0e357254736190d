"""The wheel and the sdist: what is in them, and that they install where nothing of ours is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

from s3zipfs import __version__

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parent.parent.parent
SECONDS = 300


def run(*command: str | Path) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd="/",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def shared_files() -> Iterator[tuple[Path, Path]]:
    """Each file that belongs to the system, and where it stands below the prefix."""
    table = project()["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    for source, place in table.items():
        path = ROOT / source
        for file in path.rglob("*") if path.is_dir() else (path,):
            if file.is_file():
                yield file, Path(place) / file.relative_to(path)


@dataclass(frozen=True)
class Built:
    """Both packages. The wheel is made from the sdist, which so has all that it needs."""

    wheel: Path
    sdist: Path

    def files_of_wheel(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def files_of_sdist(self) -> set[str]:
        with tarfile.open(self.sdist) as archive:
            names = {member.name for member in archive.getmembers() if member.isfile()}
        return {name.removeprefix(f"s3zipfs-{__version__}/") for name in names}

    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as archive:
            text = archive.read(f"s3zipfs-{__version__}.dist-info/METADATA").decode()
        return Parser().parsestr(text)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    # The backend is in the lock: nothing is fetched.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return Built(wheel, sdist)


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and the tests' own libraries behind it."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def program(self) -> Path:
        return self.folder / "bin" / "s3zipfs"


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder)
    environment = Installed(folder)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "--python", environment.python, "install", "--no-deps", "--no-index", built.wheel)
    packages = Path(run(environment.python, "-c", PACKAGES).strip())
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment


PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"


def test_the_wheel_holds_the_package_and_what_belongs_to_the_system(built: Built) -> None:
    files = built.files_of_wheel()
    source = ROOT / "src"
    modules = {str(path.relative_to(source)) for path in source.rglob("*.py")}
    assert {name for name in files if name.startswith("s3zipfs/")} == {
        *modules,
        "s3zipfs/py.typed",
        "s3zipfs/telemetry/page.html",
    }
    shared = f"s3zipfs-{__version__}.data/data/"
    expected = {str(place) for _, place in shared_files()}
    assert {"share/s3zipfs/systemd/s3zipfs@.service", "share/man/man1/s3zipfs.1"} <= expected
    assert {name.removeprefix(shared) for name in files if name.startswith(shared)} == expected
    info = f"s3zipfs-{__version__}.dist-info/"
    assert {f"{info}METADATA", f"{info}licenses/LICENSE", f"{info}entry_points.txt"} <= files
    rest = {name for name in files if not name.startswith(("s3zipfs/", info, shared))}
    assert rest == set()


def test_the_sdist_holds_source_tests_and_locks_and_nothing_that_was_made(built: Built) -> None:
    files = built.files_of_sdist()
    assert {
        "LICENSE",
        "Makefile",
        "PKG-INFO",
        "README.md",
        "CHANGELOG.md",
        "pyproject.toml",
        "requirements/dev.txt",
        "scripts/s3server.py",
        "src/s3zipfs/py.typed",
        "systemd/s3zipfs@.service",
        "tests/conftest.py",
        "tests/packages/test_packages.py",
    } <= files
    tops = {name.split("/")[0] for name in files}
    assert {name for name in tops if name.startswith(".")} <= {".ci", ".gitignore"}
    assert not {name for name in files if "__pycache__" in name or name.endswith((".log", ".zip"))}


def test_metadata_tell_what_it_is_and_needs(built: Built) -> None:
    told = built.metadata()
    assert told["Name"] == "s3zipfs"
    assert told["Version"] == __version__
    assert told["License-Expression"] == "Apache-2.0"
    assert told["Requires-Python"] == ">=3.11"
    assert told["Description-Content-Type"] == "text/markdown"
    assert "# s3zipfs" in str(told.get_payload())
    classifiers = told.get_all("Classifier") or []
    assert {"Typing :: Typed", "Topic :: System :: Filesystems"} <= set(classifiers)
    needed = told.get_all("Requires-Dist") or []
    assert any(each.startswith("obstore>=") for each in needed)
    extras = set(told.get_all("Provides-Extra") or [])
    assert extras == {"refs", "zarr"}
    optional = [each for each in needed if each.startswith(("pandas", "pyarrow", "zarr"))]
    assert all("extra ==" in each for each in optional)


def test_the_installed_program_runs_and_is_the_one_of_the_wheel(installed: Installed) -> None:
    version, around = run(installed.program, "--version").splitlines()
    assert version == f"s3zipfs, version {__version__}"
    assert around.startswith("Python ")
    shown = run(installed.program, "--help")
    assert all(command in shown for command in ("mount", "umount", "ls", "doctor"))
    assert "SOURCE" in run(installed.program, "mount", "--help")
    where = run(installed.python, "-c", "import s3zipfs; print(s3zipfs.__file__)")
    assert Path(where.strip()).is_relative_to(installed.folder)


def test_the_installed_package_is_known_to_fsspec(installed: Installed) -> None:
    ask = "import fsspec; print(fsspec.get_filesystem_class('s3zip').__name__)"
    assert run(installed.python, "-c", ask) == "S3ZipFileSystem\n"


def test_what_belongs_to_the_system_is_installed_below_share(installed: Installed) -> None:
    for source, place in shared_files():
        assert (installed.folder / place).read_bytes() == source.read_bytes()


def test_units_are_found_below_another_prefix_than_pythons(
    installed: Installed, tmp_path: Path
) -> None:
    packages = run(installed.python, "-c", PACKAGES).strip()
    install = ("install-service", "lab", "--root", tmp_path)
    run("env", f"PYTHONPATH={packages}", sys.executable, "-m", "s3zipfs", *install)
    assert (tmp_path / "etc/systemd/system/s3zipfs@.service").is_file()


def test_all_programs_are_installed(installed: Installed) -> None:
    for name in project()["project"]["scripts"]:
        assert os.access(installed.folder / "bin" / name, os.X_OK)


def test_pip_finds_nothing_wrong_and_removes_all(installed: Installed) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", installed.python)
    assert "s3zipfs" in run(*pip, "list")
    run(*pip, "uninstall", "--yes", "s3zipfs")
    assert not installed.program.exists()
    assert not list((installed.folder / "share").rglob("*.service"))
