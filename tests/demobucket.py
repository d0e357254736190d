"""The demo's bucket on a server of its own, and the examples run on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import demo
from environments import Environment
from s3server import S3Server

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@dataclass(frozen=True)
class DemoBucket:
    """A server with the bucket `demo`, and what its archives have to say."""

    server: S3Server
    climate: float  # sums
    eeg: float
    storms: int  # lines

    def run(self, name: str, *arguments: str, environment: str = "main") -> str:
        """Run an example to its end, as its README says; what it prints."""
        python = Environment(environment).python
        program = "bash" if name.endswith(".sh") else str(python)
        done = subprocess.run(
            [program, name, *arguments],
            cwd=EXAMPLES,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONWARNINGS": "ignore",
                "AWS_ENDPOINT_URL": self.server.endpoint,
                "AWS_ACCESS_KEY_ID": self.server.access_key,
                "AWS_SECRET_ACCESS_KEY": self.server.secret_key,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def demo_bucket(folder: Path) -> Iterator[DemoBucket]:
    """The server, until the block ends; scripts name its bucket, so nobody else has it."""
    with S3Server.start(own=True) as server:
        yield DemoBucket(server, *demo.fill_bucket(server, folder))
