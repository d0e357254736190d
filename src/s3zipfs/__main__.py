"""`python -m s3zipfs`."""

from s3zipfs.cli.main import main

main()
