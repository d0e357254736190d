"""What the pages of the documentation speak of, made here: the demo's bucket, a home, files.

A page names `HOST:9000`, `BUCKET`, `/home/me` and so on; `filled_in` puts in what is true here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import demo as demonstration
import documented
from environments import Environment, skip_without
from s3clients import make_s3client
from s3server import S3Server, find_minio

SECONDS = 300  # for a page
PROFILES = ("lab", "there")


def pages_of(environment: str) -> list[Path]:
    """The pages that have something to run there."""
    texts = {page: (documented.ROOT / page).read_text() for page in documented.pages()}
    return [
        page
        for page, text in texts.items()
        if any(
            not each.not_run and each.environment == environment and each.language != "text"
            for each in documented.blocks(text)
        )
    ]


@dataclass(frozen=True)
class PageServer:
    """A server with the demo's archives in the bucket `demo`."""

    server: S3Server
    tls: S3Server  # has the bucket too, and a certificate that `certificates/ca.crt` signed
    certificates: Path
    archives: frozenset[str]  # the demo's, by key

    def follow(self, page: Path, environment: str, folder: Path) -> None:
        """Run a page's blocks of that environment in a new home; what they mount is unmounted."""
        python = Environment(environment).python if environment else Path(sys.executable)
        if not os.access(python, os.X_OK):
            skip_without(f"no {python} ('make test-zarr' makes it)")
        self._remove_what_pages_left()
        home = self._home(folder)
        todo = [
            (f"{page}:{block.line}", block.language, self._filled_in(block.text, home))
            for block in documented.blocks((documented.ROOT / page).read_text())
            if block.language in documented.RUN
            and not block.not_run
            and block.environment in {"", environment}
        ]
        (folder / "blocks.json").write_text(json.dumps(todo))
        script = documented.ROOT / "tests" / "pagescript.py"
        try:
            done = subprocess.run(
                [str(python), str(script), str(folder / "blocks.json")],
                env=self._variables(home, python),
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        finally:
            for path in _mounted_below(folder):
                subprocess.run(["fusermount3", "-uz", str(path)], check=False)
        assert done.returncode == 0, done.stdout

    def _remove_what_pages_left(self) -> None:
        """Of the bucket, all but the demo's archives."""
        client = make_s3client(self.server)
        for each in client.list_objects_v2(Bucket=demonstration.BUCKET)["Contents"]:
            if each["Key"] not in self.archives:
                client.delete_object(Bucket=demonstration.BUCKET, Key=each["Key"])

    def _words(self, home: Path) -> Mapping[str, str]:
        """What stands for what; they are put in in this order."""
        server = self.server
        return {
            "https://minio.example.org:9000": server.endpoint,
            'Client("tcp://scheduler:8786")': "Client(n_workers=2, dashboard_address=None)",
            "/local/scratch/": f"{home}/scratch/",
            "https://minio.example:9000": server.endpoint,
            "http://HOST:9000": server.endpoint,
            "https://tls.example.org:9000": self.tls.endpoint,
            "tls.example.org:9000": self.tls.endpoint.removeprefix("https://"),
            "YOUR-KEY": server.access_key,
            "YOUR-SECRET": server.secret_key,
            "http://127.0.0.1:PORT": server.endpoint,
            "AWS_ACCESS_KEY_ID=…": f"AWS_ACCESS_KEY_ID={server.access_key}",
            "AWS_SECRET_ACCESS_KEY=…": f"AWS_SECRET_ACCESS_KEY={server.secret_key}",
            "/etc/s3zipfs/": f"{home}/etc/",
            "/home/me": str(home),
            " examples/": f" {documented.ROOT}/examples/",
            "BUCKET": demonstration.BUCKET,
            "NAME": "lab",
        }

    def _filled_in(self, text: str, home: Path) -> str:
        """A block as its reader would type it."""
        for word, meant in self._words(home).items():
            text = text.replace(word, meant)
        return text

    def _home(self, folder: Path) -> Path:
        """A home with profiles, and the files that pages speak of."""
        home = folder / "me"
        for name in (".aws", ".mc", ".config/s3zipfs", "etc", "mnt"):
            (home / name).mkdir(parents=True)
        keys = (
            f"aws_access_key_id = {self.server.access_key}\n"
            f"aws_secret_access_key = {self.server.secret_key}\n"
        )
        secrets = {
            home / ".aws" / "credentials": "".join(f"[{name}]\n{keys}" for name in PROFILES),
            home / ".aws" / "config": "".join(f"[profile {name}]\n" for name in PROFILES),
            home / ".mc" / "config.json": json.dumps(
                {"version": "10", "aliases": {"myminio": self._alias()}}
            ),
            home / ".config" / "s3zipfs" / "lab.toml": f'endpoint_url = "{self.server.endpoint}"\n',
            home / "etc" / "here.key": self.server.access_key,
            home / "etc" / "here.secret": self.server.secret_key,
        }
        for path, text in secrets.items():
            path.write_text(text)
            path.chmod(0o600)
        for place in (home, home / ".config" / "s3zipfs", home / "etc"):
            shutil.copy(self.certificates / "ca.crt", place / "ca.crt")
        return home

    def _alias(self) -> dict[str, str]:
        server = self.server
        keys = {"accessKey": server.access_key, "secretKey": server.secret_key}
        return {"url": server.endpoint, **keys, "api": "s3v4", "path": "auto"}

    def _variables(self, home: Path, python: Path) -> dict[str, str]:
        """The environment of a page's reader: nothing is set but what every login has."""
        kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        return {
            **kept,
            "HOME": str(home),
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "AWS_EC2_METADATA_DISABLED": "true",
            "PAGE_STATE": str(home.parent / "state"),
            "PYTHONWARNINGS": "ignore",
        }


def _mounted_below(folder: Path) -> list[Path]:
    rows = Path("/proc/self/mountinfo").read_text().splitlines()
    return [Path(row.split()[4]) for row in rows if row.split()[4].startswith(f"{folder}/")]


@contextmanager
def serve_pages(folder: Path, certificates: Path) -> Iterator[PageServer]:
    """A server of its own, since pages name its bucket; the demo's archives are in it."""
    if find_minio() is None:
        skip_without("the pages speak of a store with TLS: a MinIO ('make tools' builds one)")
    certificate = certificates / "ca.crt"
    with S3Server.start(own=True) as server, S3Server.start(certs_dir=certificates) as tls:
        demonstration.fill_bucket(server, folder)
        make_s3client(tls, verify=str(certificate)).create_bucket(Bucket=demonstration.BUCKET)
        archives = frozenset(path.name for path in (folder / "data").iterdir())
        yield PageServer(server, tls, certificates, archives)
