"""The `bucket` commands: make the bucket ready, show what is in it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from fringeflow.cli.console import console
from fringeflow.cli.put import opened_store
from fringeflow.errors import DataError
from fringeflow.graph.stages import STAGES

if TYPE_CHECKING:  # imported when it is needed: other commands do not wait for it
    from fringeflow.bucketadmin import Push
    from fringeflow.bus.settings import BusSettings
    from fringeflow.store.base import Store

app = typer.Typer(no_args_is_help=True, help="Make the bucket ready, or show what is in it.")


@app.command()
def setup(
    *,
    broker: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The broker as the S3 server reaches it; by default FRINGEFLOW_BUS__URL."),
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option(metavar="ARN", help="A notification target the S3 server has already, instead of a new topic."),
    ] = None,
) -> None:
    """Make the bucket, its notifications and its clearing rules, and the exchange they come to. May be repeated."""
    from fringeflow.bucketadmin import BucketAdmin
    from fringeflow.bus.bus import Bus
    from fringeflow.settings import Settings

    settings = Settings()
    if settings.store is None:
        raise DataError("no store is set", remedy="set FRINGEFLOW_STORE__URL=s3://bucket")
    out = console()
    if not settings.bus.in_memory:
        bus = Bus(settings.bus)
        bus.declare(STAGES)  # a notice that comes before the queue is there would be lost
        bus.close()
        out.print("exchanges and queues declared")
    for line in BucketAdmin(settings.store).setup(_push(settings.bus, broker), topic):
        out.print(line)


@app.command()
def show(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False) -> None:
    """Print what is in the bucket, folder by folder, and what is set up. Lists the whole bucket."""
    from rich.table import Table

    from fringeflow.bucketadmin import BucketAdmin
    from fringeflow.settings import Settings

    settings = Settings()
    store = opened_store()
    content = _content(store)
    ready: dict[str, Any] = {}
    if settings.store is not None and settings.store.url.startswith("s3:"):
        found = BucketAdmin(settings.store).show()
        ready = {"topics": dict(found.topics), "rules": list(found.rules)}
    if as_json:
        json.dump({"store": store.place, "content": content, **ready}, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    table = Table("folder", "objects", "MB", title=store.place)
    for folder, (count, size) in content.items():
        table.add_row(folder, str(count), f"{size / 1e6:.1f}")
    console().print(table)
    for arn, address in ready.get("topics", {}).items():
        console().print(f"notices go to {arn} {address}".rstrip())
    if ready and not ready["topics"]:
        console().print("no notifications are set up: workers look by themselves")
    for rule in ready.get("rules", ()):
        console().print(f"clearing rule {rule}")


def _push(bus: BusSettings, broker: str | None) -> Push | None:
    from fringeflow.bucketadmin import Push
    from fringeflow.bus.topology import exchange_name

    if broker is None and bus.in_memory:
        return None
    url = broker or bus.url
    if broker is None and bus.username is not None and bus.password is not None:
        scheme, _, rest = bus.url.partition("://")
        password = quote(bus.password.get_secret_value(), safe="")
        url = f"{scheme}://{quote(bus.username, safe='')}:{password}@{rest.rpartition('@')[2]}"
    return Push(url, exchange_name(bus, "bucket"))


def _content(store: Store) -> dict[str, tuple[int, int]]:
    counts, sizes = Counter[str](), Counter[str]()
    for info in store.list():
        folder = info.key.partition("/")[0]
        counts[folder] += 1
        sizes[folder] += info.size
    return {folder: (counts[folder], sizes[folder]) for folder in sorted(counts)}
