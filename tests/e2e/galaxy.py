"""A small project of a simulated galaxy: key files and measurement set, as a user would have them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simulation import Truth

KEYS = {
    "master_key.txt": """\
key_dir        .
ms_root        ../data
ms_key         ms_key.txt
target_key     target_key.txt
config_key     config_key.txt
imaging_key    imaging_key.txt
override_key   override_key.txt
distance_key   distance_key.txt
derived_key    derived_key.txt
moment_key     moment_key.txt
""",
    "ms_key.txt": "disc   p1   all   12m   1   disc.ms\n",
    "target_key.txt": "disc   12h00m00.0s   -30d00m00.0s   1000.0   70.0\n",
    "config_key.txt": """\
interf_config   12m    {'array_tags': ['12m'], 'clean_scales_arcsec': [0, 2.5, 5.0]}
line_product    co21   {'line_tag': 'co21', 'channel_kms': 5.1, 'statwt_edge_kms': 10.0, 'lines_to_flag': ['co21']}
""",
    "imaging_key.txt": "12m   co21   all   cube.clean\n",
    "cube.clean": """\
specmode       = 'cube'
gridder        = 'standard'
pblimit        = 0.2
weighting      = 'briggs'
robust         = 0.5
deconvolver    = 'multiscale'
restoringbeam  = 'common'
gain           = 0.1
cyclefactor    = 3.0
minpsffraction = 0.5
maxpsffraction = 0.8
usemask        = 'user'
""",
    "override_key.txt": """\
disc   cell       0.4
disc   deltara    38.4
disc   deltadec   38.4
""",
    "distance_key.txt": "disc,10.0\n",
    "derived_key.txt": """\
12m   co21   strictmask_kw   {'hi_thresh': 4.0, 'hi_nchan': 2, 'lo_thresh': 2.0, 'lo_nchan': 2}
12m   co21   ang_res         {'4as': 4.0}
12m   co21   moments         ['strictmom0', 'strictmom1', 'strictmom2', 'broadtpeak']
""",
    "moment_key.txt": """\
strictmom0   algorithm   mom0
strictmom0   mask        strictmask
strictmom0   ext         _strict_mom0
strictmom0   ext_error   _strict_emom0
strictmom1   algorithm   mom1
strictmom1   mask        strictmask
strictmom1   ext         _strict_mom1
strictmom1   ext_error   _strict_emom1
strictmom2   algorithm   mom2
strictmom2   mask        strictmask
strictmom2   ext         _strict_mom2
strictmom2   ext_error   _strict_emom2
broadtpeak   algorithm   tpeak
broadtpeak   mask        broadmask
broadtpeak   ext         _broad_tpeak
broadtpeak   ext_error   _broad_etpeak
""",
}


@dataclass(frozen=True)
class Galaxy:
    """A project folder with `keys/` and `data/`, and what is in the sky."""

    root: Path
    truth: Truth

    @property
    def master_key(self) -> Path:
        return self.root / "keys" / "master_key.txt"

    def copy_keys(self, folder: Path, **changes: tuple[str, str]) -> Path:
        """Write the keys to `folder`, which gets this galaxy's data; change texts; return the master key.

        ``changes`` maps a key file's stem to (text, replacement).
        """
        (folder / "keys").mkdir(parents=True)
        (folder / "data").symlink_to(self.root / "data")
        for name, text in KEYS.items():
            stem = name.partition(".")[0]
            old, new = changes.get(stem, ("", ""))
            assert old in text, f"{old!r} is not in {name}"
            (folder / "keys" / name).write_text(text.replace(old, new) if old else text)
        return folder / "keys" / "master_key.txt"


def write_keys(folder: Path) -> None:
    """Write the key files to `folder`."""
    folder.mkdir(parents=True)
    for name, text in KEYS.items():
        (folder / name).write_text(text)


def fringeflow(*arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    command = [sys.executable, "-m", "fringeflow", *(str(item) for item in arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=280)


def run(master_key: Path, workdir: Path, *options: Any) -> dict[str, Any]:
    """Run a project and return the summary; the run must not crash."""
    done = fringeflow("run", master_key, "--workdir", workdir, "--json", *options)
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout), returncode=done.returncode)


def products(workdir: Path) -> dict[str, bytes]:
    """Return the bytes of every product of a run by its path."""
    tree = workdir / "products"
    return {str(path.relative_to(tree)): path.read_bytes() for path in sorted(tree.rglob("*.fits"))}
