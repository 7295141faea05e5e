"""A project looked at one target after another is the same as one looked at as a whole."""

from __future__ import annotations

from pathlib import Path

from fringeflow.graph.build import Selection
from fringeflow.keys.project import load_or_raise
from fringeflow.workdir import Passage, survey

KEYS = {
    "master.txt": (
        "ms_root data\nms_key ms.txt\ntarget_key targets.txt\nconfig_key configs.txt\nimaging_key imaging.txt\n"
    ),
    "targets.txt": "a 1h 1d 5 10\nb 2h 2d 5 10\nc 3h 3d 5 10\n",
    "ms.txt": "a p all 12m 1 a.ms\nb p all 12m 1 b.ms\nc p all 12m 1 a.ms\n",
    "configs.txt": (
        "line_product co {'line_tag':'co21','channel_kms':2}\n"
        "interf_config 12m {'array_tags':['12m'],'clean_scales_arcsec':[0]}\n"
    ),
    "imaging.txt": "all all_line all cube.clean\n",
    "cube.clean": "gridder = 'standard'\n",
}


def test_a_passage_sees_what_a_survey_sees(tmp_path: Path) -> None:
    for name, text in KEYS.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "data" / "a.ms").mkdir(parents=True)
    (tmp_path / "data" / "a.ms" / "table.dat").write_text("x")
    project = load_or_raise(tmp_path / "master.txt")
    whole, passage = survey(project, Selection(), None), Passage(project, Selection(), None)
    assert passage.targets == whole.targets == ("a", "b", "c")
    for target in (*passage.targets, "a"):  # the first once more: it has been forgotten since
        graph = passage.graph(target)
        units = list(passage.units(target))
        assert [unit.id for unit in units] == [unit.id for unit in whole.units(target)]
        keys = [graph.key(unit.id) for unit in units]
        assert keys == [whole.key(unit.id) for unit in units]
        assert all(keys) if target != "b" else not any(keys)
