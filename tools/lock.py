"""Resolve the workspace's dependencies to `requirements.lock`: one set of versions and hashes for Python 3.11 and 3.12.

Every image's `requirements.lock` is cut from it, so that what is tested is what is shipped; the tools that check the
deployment have a lock of their own. Run with `make lock` after changing a pyproject.toml and commit the result. What
is locked stays as it is unless it must change; `python3 tools/lock.py --upgrade` takes the newest of everything. No
address of a package index is written.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWN = {"fringeflow"}
IMAGE_BUILDERS = {"uv", "hatchling"}  # what a Dockerfile installs with and builds our own wheels with
# Wheels that install but do not import on Debian: the bundled libssl wants a symbol that Debian's libcrypto lacks.
# Leaving their hashes out of the lock makes the installer take the manylinux_2_28 build of the same version.
UNUSABLE_WHEELS = ("casatools-6.7.6.14", "manylinux_2_34")


def dependencies(folder: Path) -> set[str]:
    """Return the third-party requirements of the distribution in `folder`."""
    return set(tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"]) - OWN


def group(name: str) -> set[str]:
    """Return the requirements of a dependency group of the workspace."""
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"][name])


def services() -> list[Path]:
    """Return the folders of the services."""
    return sorted(path.parent for path in (ROOT / "services").glob("*/pyproject.toml"))


def resolve(source: Path, target: Path, *extra: str) -> None:
    """Run the resolver on `source` and write `target`."""
    command = [
        "uv",
        "pip",
        "compile",
        "--universal",
        "--python-version",
        "3.11",
        "--no-header",
        "--no-annotate",
        "--quiet",
    ]
    subprocess.run([*command, *extra, str(source), "-o", str(target)], check=True)


def unusable_hashes(source: Path, folder: Path) -> set[str]:
    """Return the sha256 digests of the wheels that must not be chosen."""
    listing = folder / "pylock.toml"
    resolve(source, listing, "--format", "pylock.toml")
    found = set()
    for package in tomllib.loads(listing.read_text())["packages"]:
        for wheel in package.get("wheels", []):
            name = wheel.get("name") or wheel["url"].rsplit("/", 1)[-1]
            if all(part in name for part in UNUSABLE_WHEELS):
                found.add(wheel["hashes"]["sha256"])
    return found


def without(lock: str, digests: set[str]) -> str:
    """Return the lock's text less the lines that hold one of `digests`."""
    kept = [line for line in lock.splitlines() if not any(digest in line for digest in digests)]
    closed = []
    for line, following in zip(kept, [*kept[1:], ""], strict=True):
        ends_here = line.lstrip().startswith("--hash") and not following.lstrip().startswith("--hash")
        closed.append(line.removesuffix(" \\") if ends_here else line)
    return "\n".join(closed) + "\n"


def locked(wanted: set[str], lock: Path, folder: Path, *options: str) -> str:
    """Return the text of a lock of `wanted`, preferring the versions that stand in `lock`."""
    source, draft = folder / "requirements.in", folder / "requirements.lock"
    source.write_text("\n".join(sorted(wanted)) + "\n")
    draft.write_text(lock.read_text() if lock.exists() else "")
    resolve(source, draft, "--generate-hashes", "--no-emit-index-url", *options)
    return without(draft.read_text(), unusable_hashes(source, folder))


def blocks(lock: str) -> dict[str, str]:
    """Return the lines of every package of a lock, all its versions together, by the package's name."""
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", lock.strip()):
        name = block.split("==")[0]
        found[name] = found.get(name, "") + block + "\n"
    return found


def cut(wanted: set[str], lock: Path, folder: Path) -> str:
    """Return the part of `lock` that `wanted` needs."""
    source, draft = folder / "part.in", folder / "part.txt"
    source.write_text("\n".join(sorted(wanted)) + "\n")
    resolve(source, draft, "--constraint", str(lock))
    names = {re.split(r"[ =;]", line)[0] for line in draft.read_text().splitlines()}
    return "".join(block for name, block in blocks(lock.read_text()).items() if name in names)


def main(*options: str) -> int:
    """Write the locks."""
    shared = dependencies(ROOT / "shared")
    everything = shared | group("dev") | set().union(*(dependencies(folder) for folder in services()))
    lock, deploy = ROOT / "requirements.lock", ROOT / "requirements-deploy.lock"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lock.write_text(locked(everything, lock, folder, *options))
        deploy.write_text(locked(group("deploy"), deploy, folder, *options))
        (ROOT / "containers" / "build.lock").write_text(cut(IMAGE_BUILDERS, lock, folder))
        for service in services():
            (service / "requirements.lock").write_text(cut(shared | dependencies(service), lock, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
