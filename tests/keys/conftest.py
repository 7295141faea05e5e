"""A small survey to spoil: two lines of sight, one of them a mosaic of two parts, and a continuum product."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fringeflow.keys.model import Project
from fringeflow.keys.problems import Problem
from fringeflow.keys.project import load

MASTER = """\
ms_root          ../data
singledish_root  ../tp
cleanmask_root   ../masks
vfield_root      ../fields
ms_key           ms.txt
target_key       targets.txt
config_key       configs.txt
imaging_key      imaging.txt
linmos_key       mosaics.txt
dir_key          dirs.txt
derived_key      derived.txt
moment_key       moments.txt
override_key     overrides.txt
distance_key     distances.txt
window_key       windows.txt
singledish_key   tp.txt
cleanmask_key    masks.txt
line_key         lines.txt
casaversion_key  casa.txt
alma_download_key download.txt
"""

FILES = {
    "master.txt": MASTER,
    "ms.txt": """\
gal_1  p1  all  12m  1  a.ms
gal_1  p1  all  7m   2  b.ms
gal_1  p1  all  7m   10 c.ms
gal_2  p1  all  12m  1  d.ms
solo   p2  all  7m   1  e.ms
""",
    "targets.txt": """\
gal    01h00m00s  -01d00m00s  1000  200
gal_1  01h00m01s  -01d00m00s  990   100
gal_2  01h00m02s  -01d00m00s  1010  100
solo   02h00m00s  -02d00m00s  500   300
""",
    "configs.txt": """\
line_product    co21      {'line_tag':'co21','channel_kms':2.6,'lines_to_flag':['co']}
cont_product    cont      {'lines_to_flag':[],'freq_ranges_ghz':[[229,231]]}
interf_config   12m+7m    {'array_tags':['12m','7m'],'clean_scales_arcsec':[0,1,2.5]}
interf_config   7m        {'array_tags':['7m'],'clean_scales_arcsec':[0,5]}
feather_config  12m+7m+tp {'interf_config':'12m+7m'}
array_tag       7m        {'timebin':'20s'}
""",
    "imaging.txt": "all all_line all cube.clean\nall all_cont all cont.clean\n",
    "cube.clean": "specmode = 'cube'\npblimit = 0.25\n\ncell = '0.1 arcsec'\n",
    "cont.clean": "specmode = 'mfs'\ndeconvolver = 'mtmfs'\n",
    "deep.clean": "cyclefactor = 5\n",
    "mosaics.txt": "gal gal_1\ngal gal_2\n",
    "dirs.txt": "gal_1 gal\ngal_2 gal\n",
    "derived.txt": """\
all     all   noise_kw      {'spec_box':5}
all     co21  moments       ['m0']
12m+7m  co21  ang_res       {'2as':2.0}
12m+7m  co21  phys_res      {'100pc':100}
7m      co21  mask_configs  ['12m+7m']
""",
    "moments.txt": "m0 algorithm mom0\nm0 mask strictmask\nm0 ext _mom0\nm0 ext_error _emom0\n",
    "overrides.txt": "gal_1_12m+7m_co21 pblimit 0.5\nsolo cell 0.5\n",
    "distances.txt": "galaxy,dist\ngal,10\nsolo,20.5\n",
    "windows.txt": "target,window,vfield_file\ngal,50km/s,gal.fits\nsolo,30.0,\n",
    "tp.txt": "gal_1 co21 gal_1_tp.fits\n",
    "masks.txt": "gal_1 all any.fits\ngal_1 co21 own.fits\n",
    "lines.txt": "xyz10 100.5 xyz 20\n",
    "casa.txt": "6.7.0-1 /opt/a\n6.5.4-9 /opt/b\n",
    "download.txt": "all all 12m {'antenna':['DV','DA']}\ngal all all {'project':'p1'}\n",
}

Loader = Callable[..., tuple[Project, list[Problem]]]


@pytest.fixture(scope="session")
def survey_files() -> dict[str, str]:
    """The texts of the survey's key files."""
    return dict(FILES)


@pytest.fixture
def survey(tmp_path: Path) -> Loader:
    """Load the survey with some of its files replaced, or with lines appended (``append={file: text}``)."""

    def load_with(
        files: dict[str, str | bytes] | None = None, *, append: dict[str, str] | None = None, lenient: bool = False
    ) -> tuple[Project, list[Problem]]:
        keys = tmp_path / "keys"
        keys.mkdir(exist_ok=True)
        texts = {**FILES, **(files or {})}
        for name, more in (append or {}).items():
            texts[name] = f"{texts[name]}{more}"
        for name, text in texts.items():
            (keys / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(keys / "master.txt", lenient=lenient)

    return load_with
