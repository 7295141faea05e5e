"""Resolve the workspace's dependencies to `requirements.lock`: one set of versions and hashes for Python 3.11 and 3.12.

Run with `make lock` after changing a pyproject.toml and commit the result. No address of a package index is written.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Wheels that install but do not import on Debian: the bundled libssl wants a symbol that Debian's libcrypto lacks.
# Leaving their hashes out of the lock makes the installer take the manylinux_2_28 build of the same version.
UNUSABLE_WHEELS = ("casatools-6.7.6.14", "manylinux_2_34")


def requirements() -> list[str]:
    """Return every third-party requirement of the five distributions and of the development group."""
    own = {"fringeflow"}
    wanted: set[str] = set()
    for path in [ROOT / "shared", *sorted((ROOT / "services").iterdir())]:
        project = tomllib.loads((path / "pyproject.toml").read_text())["project"]
        wanted |= {item for item in project["dependencies"] if item not in own}
    dev = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    return sorted(wanted | set(dev))


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


def main() -> int:
    """Write the lock."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "requirements.in"
        source.write_text("\n".join(requirements()) + "\n")
        draft = folder / "requirements.lock"
        resolve(source, draft, "--generate-hashes", "--no-emit-index-url")
        text = without(draft.read_text(), unusable_hashes(source, folder))
    (ROOT / "requirements.lock").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
