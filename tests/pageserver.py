"""What the pages of the documentation speak of, made here: the demo's bucket, a home, files.

A page names `HOST:9000`, `BUCKET`, `/home/me` and so on; `filled_in` puts in what is true here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import demo as demonstration
from s3server import S3Server

PROFILES = ("lab", "there", "minio")


@dataclass(frozen=True)
class PageServer:
    """A server with the demo's archives in the bucket `demo`."""

    server: S3Server
    certificates: Path

    def words(self, home: Path) -> Mapping[str, str]:
        """What stands for what, the longer first."""
        server = self.server
        return {
            "https://minio.example.org:9000": server.endpoint,
            'Client("tcp://scheduler:8786")': "Client(n_workers=2, dashboard_address=None)",
            "/local/scratch/": f"{home}/scratch/",
            "https://minio.example:9000": server.endpoint,
            "http://HOST:9000": server.endpoint,
            "http://127.0.0.1:PORT": server.endpoint,
            "AWS_ACCESS_KEY_ID=…": f"AWS_ACCESS_KEY_ID={server.access_key}",
            "AWS_SECRET_ACCESS_KEY=…": f"AWS_SECRET_ACCESS_KEY={server.secret_key}",
            "/etc/s3zipfs/": f"{home}/etc/",
            "/home/me": str(home),
            "BUCKET": demonstration.BUCKET,
            "NAME": "lab",
        }

    def filled_in(self, text: str, home: Path) -> str:
        """A block as its reader would type it."""
        for word, meant in self.words(home).items():
            text = text.replace(word, meant)
        return text

    def home(self, folder: Path) -> Path:
        """A home with profiles, and the files that pages speak of."""
        home = folder / "me"
        for place in (".aws", ".mc", ".config/s3zipfs", "etc", "mnt"):
            (home / place).mkdir(parents=True)
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

    def variables(self, home: Path, python: Path) -> dict[str, str]:
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


@contextmanager
def page_server(folder: Path, certificates: Path) -> Iterator[PageServer]:
    """A server of its own, since pages name its bucket; the demo's archives are in it."""
    with S3Server.start(own=True) as server:
        demonstration.fill_bucket(server, folder)
        yield PageServer(server, certificates)
