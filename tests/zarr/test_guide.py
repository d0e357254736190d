"""The script that people have for EEG recordings in MinIO, run as they run it.

zarr 2.18, `FSStore` over a filesystem over s3fs, a `.env` file, TLS by a company's authority. One
import is another: `from s3zipfs import ZipFileSystem`. The reader package of the recordings, which
is not public, is replaced by rkns.py, which reads what it makes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from environments import Environment
from hierarchies import zip_folder
from numpy.typing import NDArray
from s3clients import make_s3client, temporary_bucket
from s3server import S3Server

ZARR2 = Environment("zarr2")
SIGNALS, HERTZ, SECONDS = 10, 256, 8 * 3600
BUCKET = "rekonas-dataset-shhs-rkns"
KEY = "sub-shhs200001_ses-01_task-sleep_eeg.rkns"

ORIGINAL = "from fsspec.implementations.zip import ZipFileSystem\n"
SCRIPT = """\
import os
from pathlib import Path
from dotenv import load_dotenv
from fsspec.implementations.zip import ZipFileSystem
from fsspec.mapping import FSMap
import s3fs
import zarr
import rkns

# load credentials from .env file
load_dotenv()
access_key_id = os.getenv("STORAGE_ACCESS_KEY")
secret_access_key = os.getenv("STORAGE_SECRET_KEY")
endpoint_url = os.getenv("ENDPOINT")
endpoint_url_full = os.getenv("ENDPOINT_FULL")


# Specify the path to your custom CA certificate
ca_cert_path = "ca.crt.cer"
assert Path(ca_cert_path).is_file()


# Create s3fs filesystem with custom cert
fs = s3fs.S3FileSystem(
    client_kwargs={"endpoint_url": endpoint_url_full, "verify": str(ca_cert_path)},
    key=access_key_id,
    secret=secret_access_key,
    use_ssl=True,
)

s3_path = "rekonas-dataset-shhs-rkns/sub-shhs200001_ses-01_task-sleep_eeg.rkns"

zip_fs = ZipFileSystem(fo=fs.open(s3_path, "rb"))
store = zarr.storage.FSStore(url='', fs=zip_fs)
rkns_obj = rkns.from_RKNS(store)
print(rkns_obj.tree)
"""

# Besides the tree, what each signal holds, so that the script's output shows every byte.
RKNS = """\
import hashlib
import types
import zarr

def from_RKNS(store):
    root = zarr.open(store, mode="r")
    lines = [str(root.tree())]
    for name, signal in sorted(root["signals"].arrays()):
        lines.append(f"{name} {signal.dtype} {hashlib.sha256(signal[:].tobytes()).hexdigest()}")
    return types.SimpleNamespace(tree="\\n".join(lines))
"""


def signal(number: int) -> NDArray[np.int16]:
    """Eight hours of one electrode: noise around a slow wave, in the recorder's integers."""
    random = np.random.default_rng(number)
    wave = 400 * np.sin(np.arange(HERTZ * SECONDS) / (40 + number))
    return (wave + random.integers(-64, 64, HERTZ * SECONDS)).astype("<i2")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The archive, 140 MB as Zarr v2 with blosc, and what the script must tell of its signals."""
    folder = tmp_path_factory.mktemp("rkns")
    group = zarr.open_group(folder / "tree", mode="w", zarr_format=2)
    signals = group.create_group("signals", attributes={"unit": "uV", "hertz": HERTZ})
    told = []
    for number in range(SIGNALS):
        values = signal(number)
        array = signals.create_array(
            f"eeg{number:02}",
            shape=values.shape,
            chunks=(HERTZ * 60,),
            dtype="<i2",
            compressors=numcodecs.Blosc(cname="zstd", clevel=1),
        )
        array[:] = values
        told.append(f"eeg{number:02} int16 {hashlib.sha256(values.tobytes()).hexdigest()}")
    zip_folder(folder / "tree", folder / KEY)
    return folder / KEY, told


@pytest.fixture(scope="module")
def place(
    recording: tuple[Path, list[str]], s3certs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Where the script is run: `.env`, the authority, and rkns.py; the store speaks TLS."""
    folder = tmp_path_factory.mktemp("guide")
    shutil.copy(s3certs / "ca.crt", folder / "ca.crt.cer")
    (folder / "rkns.py").write_text(RKNS)
    with S3Server.start(certs_dir=s3certs, own=True) as server:
        client = make_s3client(server, verify=str(s3certs / "ca.crt"))
        with temporary_bucket(client, BUCKET):
            client.upload_file(str(recording[0]), BUCKET, KEY)
            names = {
                "STORAGE_ACCESS_KEY": server.access_key,
                "STORAGE_SECRET_KEY": server.secret_key,
                "ENDPOINT": server.endpoint.removeprefix("https://"),
                "ENDPOINT_FULL": server.endpoint,
            }
            env_file = "".join(f"{name}={value}\n" for name, value in names.items())
            (folder / ".env").write_text(env_file)
            yield folder


def output(place: Path, script: str) -> str:
    (place / "script.py").write_text(script)
    process = ZARR2.start(Path("script.py"), folder=place)
    try:
        printed, _ = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    return printed


@pytest.mark.environment("zarr2")
@pytest.mark.timeout(600)
@pytest.mark.row(
    "zarr 2.18",
    "The guide's script for `.rkns`: `.env`, an authority of one's own, one import changed",
)
def test_the_script_of_the_guide_runs_with_one_import_changed(
    place: Path, recording: tuple[Path, list[str]]
) -> None:
    assert SCRIPT.count(ORIGINAL) == 1
    printed = output(place, SCRIPT.replace(ORIGINAL, "from s3zipfs import ZipFileSystem\n"))
    told = recording[1]
    assert printed.splitlines()[-SIGNALS:] == told
    for number in range(SIGNALS):
        assert f"eeg{number:02} ({HERTZ * SECONDS},) int16" in printed
