"""A process that writes to a store: run by the tests, several at once or to be killed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from fringeflow.store.objects import StoreSettings, open_store


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def slow_blocks() -> Iterator[bytes]:
    for number in range(600):
        yield bytes([number % 251]) * (1 << 20)
        if number == 40:
            say("halfway")
        if number >= 40:
            time.sleep(0.05)


def main(what: str, settings: str, key: str, content: str) -> None:
    store = open_store(StoreSettings.model_validate_json(settings))
    say("ready")
    sys.stdin.readline()
    if what == "race":
        say(str(store.put_bytes(key, content.encode() * 1000, create=True)))
    else:
        store.put_chunks(key, slow_blocks(), create=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
