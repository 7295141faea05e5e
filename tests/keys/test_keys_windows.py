"""Velocity windows of mosaics and their parts (staging specification, S21)."""

from __future__ import annotations


def test_a_part_whose_window_reaches_beyond_its_mosaic_s_is_told(survey, survey_files) -> None:
    project, problems = survey()
    assert not [problem for problem in problems if "within that of its mosaic" in problem.text]
    assert project.exclusion_window_kms("gal_1") == (1000, 200)
    targets = survey_files["targets.txt"].replace("1010  100", "1060  100")
    _, problems = survey({"targets.txt": targets})
    (found,) = [problem for problem in problems if "within that of its mosaic" in problem.text]
    assert (found.severity, found.line) == ("warning", 3)
    assert "gal_2, 1010 to 1110 km/s" in found.text
    assert "gal, 900 to 1100 km/s" in found.text
