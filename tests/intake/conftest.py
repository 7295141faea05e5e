"""An empty store in a folder, and key files of a small project."""

from __future__ import annotations

from pathlib import Path

import pytest

from fringeflow.store.objects import Store, StoreSettings, open_store

KEYS = {
    "master.txt": """\
# my survey
key_dir      .
ms_root      $NOWHERE_AT_ALL/data   # only here
ms_key       {folder}/ms.txt
target_key   more/targets.txt
config_key   configs.txt
imaging_key  imaging.txt
cleanmask_key masks.txt
""",
    "ms.txt": "gal  p1  all  12m  1  first/a.ms\ngal  p1  all  12m  2  b.ms\n",
    "more/targets.txt": "gal  01h00m00s  -01d00m00s  1000  200\n",
    "configs.txt": """\
line_product   co21  {'line_tag':'co21','channel_kms':2.6}
interf_config  12m   {'array_tags':['12m'],'clean_scales_arcsec':[0,1]}
""",
    "imaging.txt": "all all_line all recipes/cube.clean\n",
    "masks.txt": "gal  all  gal_mask.fits\n",
    "recipes/cube.clean": "specmode = 'cube'\nrobust = 0.5\n",
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StoreSettings.of_folder(tmp_path / "store"))


@pytest.fixture
def master_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The master key of a project that names folders of this machine."""
    monkeypatch.setenv("NOWHERE_AT_ALL", str(tmp_path))
    folder = tmp_path / "my keys"
    for name, text in KEYS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace("{folder}/ms.txt", f"'{folder}/ms.txt'"))
    return folder / "master.txt"
