"""What a block of a cube is thought to need, against what its process takes: imaging and cleaning, size by size.

The estimate decides into which memory class tasks go. Each size is a process of
its own, which images and cleans a simulated disc with the mosaic gridder and three scales; its peak is the kernel's.

    python benchmarks/imaging_memory.py FOLDER [PIXELS_ACROSS CHANNELS]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fringeflow.jobs import casa
from fringeflow.jobs.kernel import peak_memory_mb
from fringeflow_imaging import cube, sizes
from fringeflow_imaging.cube import Block, CleanStage
from fringeflow_imaging.minor import CycleControl, Scales
from fringeflow_imaging.stopping import Stopping

CELL_ARCSEC = 0.1
MOST_CHANNELS = 16
CASES = ((256, 4), (256, 16), (512, 4), (512, 16), (1024, 4), (1024, 8), (2048, 4))


def main(folder: Path) -> None:
    """Print a line for every size."""
    casa.enable(folder / "casa")
    casa.log_to(folder / "casa.log")
    simulate(folder / "disc.ms")
    print(f"{'pixels':>12} {'channels':>8} {'estimate MB':>11} {'measured MB':>11} {'measured / estimate':>19}")
    for across, channels in CASES:
        command = [sys.executable, __file__, str(folder), str(across), str(channels)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        measured = 1.048576 * float(run.stdout.split()[-1])  # MiB to MB, as the estimate is
        estimate = sizes.job_memory_mb(across**2, channels)
        print(f"{across:>5} x {across:<4} {channels:>8} {estimate:>11} {measured:>11.0f} {measured / estimate:>19.2f}")


def simulate(path: Path) -> None:
    """Write the visibilities that all sizes share."""
    from tests.simulation import Observation, Window, simulate_disc

    watch = Observation(n_times=6, n_antennas=20, longest_m=700.0)
    simulate_disc(path, windows=(Window(n_channels=MOST_CHANNELS, channel_kms=3.0),), observation=watch, sigma_jy=0.05)


def block(folder: Path, across: int, channels: int) -> None:
    """Image and clean one block and print the peak of this process's memory."""
    casa.enable(folder / "casa")
    casa.log_to(folder / "casa.log")
    made = Block(folder / f"{across}-{channels}", 0, channels - 1)
    parameters = {
        "vis": str(folder / "disc.ms"), "imagename": str(made.root), "imsize": [across, across], "pblimit": 0.2,
        "cell": f"{CELL_ARCSEC}arcsec", "phasecenter": "J2000 12h00m00.0s -30d00m00.0s", "specmode": "cube",
        "start": 0, "width": 1, "nchan": channels, "outframe": "LSRK", "gridder": "mosaic", "weighting": "briggs",
        "robust": 0.5, "perchanweightdensity": True, "deconvolver": "hogbom", "restfreq": "230.538GHz",
    }  # fmt: skip
    found = cube.make_dirty(made, parameters, None)
    stage = CleanStage(Scales((0, 10, 25), 0.6), CycleControl(cyclefactor=3.0), Stopping(snr=4.0, max_cycles=3))
    cube.clean_block(made, parameters, made.prior(), found, stage)
    print(peak_memory_mb())


if __name__ == "__main__":
    place = Path(sys.argv[1]).absolute()
    place.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if len(sys.argv) > 2:
        block(place, int(sys.argv[2]), int(sys.argv[3]))
    else:
        main(place)
