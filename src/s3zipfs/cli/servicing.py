"""`s3zipfs install-service`, and what its units call (`s3zipfs service`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from s3zipfs.cli import installing
from s3zipfs.cli.errors import FAILED
from s3zipfs.cli.installing import State
from s3zipfs.errors import SettingsError
from s3zipfs.fuse import mountpoint as places
from s3zipfs.fuse import readahead
from s3zipfs.settings import load

_TO_WRITE = (State.MISSING, State.OUTDATED)
_MOUNTED = Path("/run/s3zipfs")  # by name, where each is mounted: root's, as all that reads it


@click.command("install-service", short_help="Write systemd units for a mount; say what is next.")
@click.argument("name", metavar="NAME")
@click.option("--user", is_flag=True, help="a service of your own, by fusermount3, without root")
@click.option("--dry-run", is_flag=True, help="only say what would be done")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="write below DIR, as for an image",
)
def install_service(name: str, user: bool, dry_run: bool, root: Path | None) -> int:
    """Write the units that mount what the settings file of NAME says, and say what to do next.

    As root: the unit s3zipfs@.service, the user s3zipfs that it runs as, and the programs by which
    mount(8) and fstab mount. With --user: a unit of your own. Files that are as they should be
    stay; what was changed by hand is never overwritten, and then nothing is written at all.

    The exit code is 1 where something was changed by hand.
    """
    if not user and root is None and not dry_run and os.geteuid() != 0:
        raise click.UsageError("this takes root; --user writes units of your own")
    plan = installing.for_user(name) if user else installing.for_system(name)
    if root is not None:
        plan = plan.below(root.absolute())
    states = plan.judge()
    refused = State.CHANGED in states.values()
    for item, state in states.items():
        if state in _TO_WRITE and not (dry_run or refused):
            item.write()
        click.echo(f"{_said(state, done=not (dry_run or refused))} {item.path}")
    if refused:
        click.echo(
            "nothing is written: what was changed by hand is yours. Keep changes in a drop-in "
            "(systemctl edit), and remove the file to have it written anew",
            err=True,
        )
        return FAILED
    for text in plan.warnings:
        click.echo(f"s3zipfs: warning: {text}", err=True)
    click.echo("\nnext:")
    for line in plan.next_steps:
        click.echo(f"  {line}")
    return 0


def _said(state: State, *, done: bool) -> str:
    words: Mapping[State, tuple[str, str]] = {
        State.CURRENT: ("as it was", "as it is"),
        State.MISSING: ("written", "to write"),
        State.OUTDATED: ("updated", "to update"),
        State.CHANGED: ("changed by hand", "changed by hand"),
        State.YOURS: ("yours", "yours"),
    }
    return f"{words[state][0 if done else 1] + ':':<16}"


@click.group(hidden=True)
def service() -> None:
    """What units call, with more rights than the daemon has."""


@service.command()
@click.argument("name")
def started(name: str) -> None:
    """Let the kernel read ahead as far as is good: to say so takes root. Note the place."""
    path = _mountpoint(name)
    mounted = places.mount_at(path)
    if mounted is not None and mounted.type == places.TYPE:
        readahead.widen(mounted)
        _MOUNTED.mkdir(exist_ok=True)
        _note(name).write_bytes(os.fsencode(path))


@service.command()
@click.argument("name")
def stopped(name: str) -> None:
    """Unmount what a daemon without rights has left, where it ended well.

    After a failure the dead mount stays until the next one takes its place: its readers are told
    that it is dead, and see no empty directory.
    """
    if os.environ.get("SERVICE_RESULT", "success") != "success":  # systemd.exec(5)
        return
    is_noted = os.geteuid() == 0 and _note(name).exists()  # a user's service notes nothing
    # The settings may have been changed since the start.
    path = Path(os.fsdecode(_note(name).read_bytes())) if is_noted else _mountpoint(name)
    mounted = places.mount_at(path)
    if mounted is not None and mounted.type == places.TYPE:
        places.unmount(path, device=mounted.device)


def _note(name: str) -> Path:
    return _MOUNTED / Path(name).name  # which may be the path of a settings file


def _mountpoint(name: str) -> Path:
    settings = load(name).settings
    if settings.mountpoint is None:
        raise SettingsError(f"--config {name}: it has no mountpoint")
    return places.absolute(settings.mountpoint)
