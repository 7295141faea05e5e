"""A stage whose units behave as their recipe says: well, or badly in all the ways a job can."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fringeflow.errors import NothingSelectedError, OutOfMemoryError, TransientError
from fringeflow.jobs.order import Job, Order


def make(job: Job) -> None:
    for order in job.orders:
        sys.stdout.write(f"making {order.unit.id}\n")
        _BEHAVIOUR[str(order.unit.recipe["behaviour"])](job, order)


def work(job: Job, order: Order) -> None:
    job.progress("grid", 0.0)
    time.sleep(0.05)
    job.progress("clean", 0.5)
    time.sleep(0.05)
    inputs = {source: sorted(paths) for source, paths in order.inputs.items()}
    content = f"{order.unit.id} {inputs} {[read(path) for path in order.leaves.values()]}"
    (job.scratch / order.unit.id.step).mkdir()
    out = job.scratch / order.unit.id.step / "out.txt"
    out.write_text(content)
    job.finish(order, {"out.txt": out}, {"cell": order.facts["fake/a/b/c"]["cell"], "beam": (1.0, 2.0)})


def read(path: Path) -> str:
    return (path / "table.dat").read_text() if path.is_dir() else path.read_text()


def data_error(job: Job, order: Order) -> None:
    raise NothingSelectedError("no spectral window covers the line", remedy="check the ms key")


def transient(job: Job, order: Order) -> None:
    raise TransientError("the store did not answer")


def bug(job: Job, order: Order) -> None:
    raise KeyError("forgotten")


def unfinished(job: Job, order: Order) -> None:
    """Forget to hand anything in."""


def bad_facts(job: Job, order: Order) -> None:
    out = job.scratch / "out.txt"
    out.touch()
    job.finish(order, {"out.txt": out}, {"noise": float("nan")})


def leave(job: Job, order: Order) -> None:
    os._exit(3)


def killed(job: Job, order: Order) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def terminated(job: Job, order: Order) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def segfault(job: Job, order: Order) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def abort(job: Job, order: Order) -> None:
    os.abort()


def abort_saying_full(job: Job, order: Order) -> None:
    sys.stderr.write("terminate called: fsync failed: No space left on device\n")
    sys.stderr.flush()
    os.abort()


def fill_and_abort(job: Job, order: Order) -> None:
    try:
        (job.scratch / "large").write_bytes(bytes(100 << 20))
    except OSError:
        os.abort()


def full(job: Job, order: Order) -> None:
    cause = OSError(errno.ENOSPC, "No space left on device", str(job.scratch / "cube.fits"))
    raise RuntimeError("could not write the cube") from cause


def really_full(job: Job, order: Order) -> None:
    (job.scratch / "large").write_bytes(bytes(100 << 20))


def casa_full(job: Job, order: Order) -> None:
    raise RuntimeError("FiledesIO: write error: No space left on device")


def memory_error(job: Job, order: Order) -> None:
    raise MemoryError


def own_memory_error(job: Job, order: Order) -> None:
    raise OutOfMemoryError("the image is too large", remedy="make it smaller")


def eat(job: Job, order: Order) -> None:
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 20)) * 20)
        time.sleep(0.02)


def sleep(job: Job, order: Order) -> None:
    job.progress("sleep")
    time.sleep(60)


def sleep_with_a_child(job: Job, order: Order) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        job.progress(f"child {child.pid}")


def who(job: Job, order: Order) -> None:
    """Tell which process this is and where it works."""
    warnings.warn("look out", stacklevel=1)
    with tempfile.NamedTemporaryFile() as temporary:
        seen = {"pid": os.getpid(), "folder": str(Path.cwd()), "temporary": temporary.name, "scratch": str(job.scratch)}
    out = job.scratch / "out.txt"
    out.touch()
    job.finish(order, {"out.txt": out}, seen | {"files": len(list(Path("/proc/self/fd").iterdir()))})


def who_with_memory(job: Job, order: Order) -> None:
    """Use much memory for a moment."""
    bytearray(b"1" * (200 << 20))
    who(job, order)


def who_keeping_memory(job: Job, order: Order) -> None:
    """Keep much memory."""
    _KEPT.append(bytearray(b"1" * (300 << 20)))
    who(job, order)


def who_with_a_thread(job: Job, order: Order) -> None:
    """Leave a thread behind."""
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    who(job, order)


def chatter(job: Job, order: Order) -> None:
    for number in range(20_000):
        job.progress("chatter", number / 20_000)
    work(job, order)


_KEPT: list[bytearray] = []
_BEHAVIOUR: dict[str, Callable[[Job, Order], None]] = {
    function.__name__: function
    for function in (
        *(work, data_error, transient, bug, unfinished, bad_facts, leave, killed, terminated, segfault, abort),
        *(abort_saying_full, fill_and_abort, full, really_full, casa_full, memory_error, own_memory_error, eat),
        *(sleep, sleep_with_a_child, chatter, who, who_with_memory, who_keeping_memory, who_with_a_thread),
    )
}


def surroundings() -> dict[str, Any]:
    """Tell what a child process sees of the world."""
    with tempfile.NamedTemporaryFile() as temporary:
        place = temporary.name
    return {
        "folder": str(Path.cwd()),
        "temporary": place,
        "input": str(Path("/proc/self/fd/0").readlink()),
        "pid": os.getpid(),
        "server": os.getppid(),
        "group": os.getpgid(0),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "main": sys.modules["__main__"].__dict__.get("__file__", ""),
        "casa": "casatasks" in sys.modules,
        "server threads": [task.read_text() for task in Path(f"/proc/{os.getppid()}/task").glob("*/comm")],
    }


def add(left: int, right: int, progress: Callable[[str, float | None], None], scratch: Path) -> int:
    progress("adding", 0.5)
    (scratch / "note").write_text("x")
    return left + right


def fail() -> None:
    raise NothingSelectedError("nothing there", remedy="put something there")


def image_in_casa(scratch: Path) -> tuple[str, list[int]]:
    """Write and read a CASA image, and say where CASA's log is."""
    import casatasks
    import casatools

    image = casatools.image()
    image.fromshape(str(scratch / "a.image"), [4, 3])
    shape = [int(length) for length in image.shape()]
    image.close()
    return casatasks.casalog.logfile(), shape


def note_and_sleep(note: Path, progress: Callable[[str, float | None], None]) -> None:
    note.write_text("begun")
    progress(f"{os.getpid()} {os.getppid()}", None)
    time.sleep(60)


def modules() -> list[str]:
    """Return what is imported in a job."""
    return sorted(sys.modules)
