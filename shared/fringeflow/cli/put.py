"""The `put` command: an input into the bucket, packed and digested on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fringeflow.cli.console import console
from fringeflow.errors import DataError

if TYPE_CHECKING:  # imported when it is needed: other commands do not wait for it
    from rich.console import Console

    from fringeflow.intake.dropping import Dropped
    from fringeflow.store.base import Store


def put(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Measurement sets, archives of them, or FITS files.")
    ],
    *,
    as_path: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="PATH",
            help="Its path in the ms key; or, of other inputs, `cleanmask/PATH`, `singledish/PATH`, `vfield/PATH`.",
        ),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(metavar="MASTER_KEY", help="Find in these keys which input each file is.")
    ] = None,
) -> None:
    """Put inputs into the bucket that FRINGEFLOW_STORE__URL names, where the workers take them up.

    A measurement set is packed, compressed and sent as one stream. Without `--as` and `--keys` it is put under its own
    name.
    """
    if as_path is not None and (len(files) > 1 or keys is not None):
        raise DataError("--as is for one file, and instead of --keys", remedy="put one file at a time")
    names = _names(files, as_path, keys)
    store = opened_store()
    out = console()
    for file, name in zip(files, names, strict=True):
        dropped = _put(store, file, name, out)
        out.print(f"put {file} as {dropped.key} ({dropped.size} bytes, sha256 {dropped.sha256})")
        for key in dropped.replaced:
            out.print(f"removed {key}: it was an older archive of the same input")


def push_keys(arguments: list[Path]) -> int:
    """Make the key files in the bucket those of one master key and say what changed; return 0."""
    if len(arguments) != 1:
        raise DataError("one master key can be pushed", remedy="fringeflow keys push MASTER_KEY")
    from fringeflow.intake import keystore
    from fringeflow.settings import Settings

    store = opened_store()
    changed = keystore.push(store, arguments[0])
    for key in changed:
        console().print(f"{'put' if store.exists(key) else 'removed'} {key}")
    if not changed:
        console().print("the bucket has these keys already")
    expected = Settings().master_key
    if arguments[0].name != expected:
        console().print(f"workers look for keys/{expected}: set FRINGEFLOW_MASTER_KEY={arguments[0].name} for them")
    return 0


def opened_store() -> Store:
    """Return the store of the settings.

    Raises
    ------
    DataError
        The settings name none.
    """
    from fringeflow.settings import Settings
    from fringeflow.store.objects import open_store

    settings = Settings().store
    if settings is None:
        raise DataError(
            "no store is set", remedy="set FRINGEFLOW_STORE__URL=s3://bucket (and FRINGEFLOW_STORE__ENDPOINT)"
        )
    return open_store(settings)


def _names(files: list[Path], as_path: str | None, keys: Path | None) -> list[str]:
    from fringeflow.bucketadmin import WATCHED
    from fringeflow.intake import dropping, keystore
    from fringeflow.intake.leaves import INCOMING
    from fringeflow.keys.project import load_or_raise

    if as_path is not None:
        known = as_path.partition("/")[0] in set(WATCHED) - {keystore.FOLDER}
        return [as_path if known else f"{INCOMING}/{as_path}"]
    if keys is not None:
        project = load_or_raise(keys)
        return [dropping.name_for(file, project) for file in files]
    return [_own_name(file) for file in files]


def _own_name(file: Path) -> str:
    from fringeflow.intake import dropping
    from fringeflow.intake.leaves import INCOMING
    from fringeflow.store.untar import SUFFIXES

    if file.is_dir() or file.name.endswith(SUFFIXES):
        return f"{INCOMING}/{dropping.plain_name(file.absolute().name)}"
    raise DataError(f"what kind of input is {file}?", remedy="give --keys MASTER_KEY, or e.g. --as cleanmask/PATH")


def _put(store: Store, file: Path, name: str, out: Console) -> Dropped:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from fringeflow.intake import dropping

    size = dropping.size_of(file)
    columns = (TextColumn(file.name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(file.name, total=size)
        return dropping.drop(store, file, name, lambda more: bar.advance(task, more))
