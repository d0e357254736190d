"""`s3zipfs completion`: the script that has a shell ask `completing`."""

from __future__ import annotations

import click

from s3zipfs.cli.completing import script_of

_HELP = """Print the script by which a shell completes commands, options, paths and s3:// URLs.

\b
  bash  s3zipfs completion bash > ~/.local/share/bash-completion/completions/s3zipfs
  zsh   s3zipfs completion zsh > ~/.zfunc/_s3zipfs
        where ~/.zshrc has fpath+=~/.zfunc before its compinit
  fish  s3zipfs completion fish > ~/.config/fish/completions/s3zipfs.fish

A new shell has it then. Buckets and keys are listed with the credentials of the environment and
the options that were typed already; what has not come within five seconds is not shown.
"""


@click.command(help=_HELP, short_help="Print a script that completes what is typed in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print it."""
    click.echo(script_of(shell), nl=False)
