"""A Zarr archive in a bucket, opened as fsspec has it: s3fs, ZipFileSystem, FSMap.

Each chunk is read through one file with one position: one at a time, by blocks of 50 MiB.
"""

import zarr
from fsspec.implementations.zip import ZipFileSystem
from fsspec.mapping import FSMap
from s3fs import S3FileSystem

fs = S3FileSystem()  # AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
zip_fs = ZipFileSystem(fo=fs.open("demo/sub-01_eeg.rkns", "rb"))
root = zarr.open(FSMap(root="", fs=zip_fs), mode="r")
signals = root["signals"]
print(signals.shape, signals.dtype, signals[:].sum(dtype="f8"))
