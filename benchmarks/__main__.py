"""`python benchmarks [NAME…]`: rows side by side with their peers, into docs/benchmarks.

A name stands for all rows that begin with it; none means all but the longest.
"""

from __future__ import annotations

import sys
import time

import readme
import report
from data import Data
from mounts import Store
from readers import WrongBytes
from rows import all_rows
from running import run_row
from s3server import REPOSITORY, S3Server

DATA = REPOSITORY / ".benchmarks"  # what takes long to make, kept between runs
RESULTS = REPOSITORY / "docs" / "benchmarks"


def main() -> None:
    """Run the rows; each is written when it is done, and one that fails stops no other."""
    DATA.mkdir(exist_ok=True)
    data = Data(DATA)
    rows = all_rows(data)
    wanted = tuple(sys.argv[1:])
    chosen = [
        row for row in rows.values() if (row.name.startswith(wanted) if wanted else row.by_default)
    ]
    if not chosen:
        sys.exit(f"no row {' '.join(wanted)}; there are: {' '.join(rows)}")
    with S3Server.start(own=True) as server:
        if server.kind != "minio":
            sys.exit("the figures mean nothing without a MinIO: make tools")
        store = Store(server.endpoint, server.access_key, server.secret_key)
        start, failed = time.monotonic(), list[str]()
        for row in chosen:
            print(f"{row.name}: {row.title}", flush=True)
            try:
                result = run_row(row, data, store).as_json()
            except (WrongBytes, OSError, RuntimeError) as error:
                failed.append(row.name)
                print(f"  failed: {error}", flush=True)
                continue
            report.write(RESULTS, rows, {row.name: result})
            for line in report.lines(row, result):
                print(f"  {line}")
            print(f"  ({result['seconds']:.0f} s)", flush=True)
        readme.write()
        print(f"{len(chosen)} rows, {time.monotonic() - start:.0f} s; see {RESULTS}/README.md")
    if failed:
        sys.exit(f"failed: {' '.join(failed)}")


if __name__ == "__main__":
    main()
