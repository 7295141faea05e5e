from __future__ import annotations

import pickle

import pytest

from fringeflow.keys.problems import KeysError, Problem
from fringeflow.keys.project import load_or_raise


def told(problems: list[Problem], severity: str = "error") -> list[str]:
    """Return the problems of one severity as ``file:line text``."""
    return [f"{item.file.name}:{item.line} {item.text}" for item in problems if item.severity == severity]


def test_the_survey_itself_is_sound(survey) -> None:
    project, problems = survey()
    assert problems == []
    assert list(project.targets) == ["gal", "gal_1", "gal_2", "solo"]
    assert project.targets["gal_1"].mosaic_parent == "gal"
    assert project.targets["gal_1"].distance_mpc == 10
    assert project.targets["gal_1"].directory == "gal"
    assert project.targets["solo"].window == "30.0km/s"
    assert project.targets["solo"].vfield_file is None
    assert project.interf_configs["12m+7m"].feather_configs == ("12m+7m+tp",)
    assert project.timebins == {"12m": "0s", "7m": "20s"}
    assert project.targets["gal_1"].cleanmask_for("co21") == "own.fits"
    assert project.targets["gal_1"].cleanmask_for("cont") == "any.fits"


# file, line to append -> the error: line of it, what its text holds, what its remedy holds
SPOILED = [
    ("master.txt", "ms_rot /data", "unknown keyword 'ms_rot'", "ms_root"),
    ("master.txt", "ms_root /data old", "3 columns instead of 2", "keyword value"),
    ("master.txt", "moment_key nothing.txt", "nothing.txt does not exist", "correct its name"),
    ("master.txt", "ms_root $NO_SUCH_VARIABLE/data", "environment variable", "set it"),
    ("ms.txt", "solo p2 all 7m 2", "measurement set with 5 columns instead of 6", "array_tag obsnum ms_path"),
    ("targets.txt", "t 1h 1d a 5", "vsys of t: a number is wanted, not 'a'", "correct"),
    ("targets.txt", "t 1h 1d nan 5", "a number is wanted, not nan", "correct"),
    ("targets.txt", "t 1h 1d 1 -5", "above zero", "correct"),
    ("targets.txt", "a/b 1h 1d 1 5", "'a/b' cannot be the name of a target", "letters"),
    ("targets.txt", "all 1h 1d 1 5", "cannot be called 'all'", "another name"),
    ("targets.txt", "t 1h 1d 1 5 {'frame':'BARY'}", "frame 'BARY'", "LSRK"),
    ("targets.txt", "t 1h 1d 1 5 {'konvention':'radio'}", "unknown parameter 'konvention'", "convention"),
    ("mosaics.txt", "big gal_1", "unknown mosaic target 'big'", "gal"),
    ("mosaics.txt", "gal gal_3", "unknown part of gal: 'gal_3'", "gal_"),
    ("mosaics.txt", "solo gal", "gal is a mosaic itself", "its parts"),
    ("mosaics.txt", "solo solo", "part of itself", "mosaic first"),
    ("dirs.txt", "a #b", "directory with 1 column instead of 2", "target directory"),
    ("dirs.txt", "solo ../up", "cannot be the name of a directory", "letters"),
    ("distances.txt", "solo,far", "distance of solo in Mpc: a number is wanted, not 'far'", "correct"),
    ("distances.txt", "solo,nan", "a number is wanted, not nan", "correct"),
    ("distances.txt", "solo,-3", "above zero", "correct"),
    ("distances.txt", "solo 3", "distance with 1 value instead of 2 to 3", "target,distance_mpc"),
    ("windows.txt", "solo,50parsec,", "a velocity width such as 50km/s is wanted, not '50parsec'", "km/s"),
    ("tp.txt", "solo co32 x.fits", "unknown product 'co32'", "co21"),
    ("masks.txt", "solo co32 x.fits", "unknown product 'co32'", "co21"),
    ("configs.txt", "lineproduct x {}", "unknown type 'lineproduct'", "line_product"),
    ("configs.txt", "line_product x {'line_tag':'co12','channel_kms':5}", "'co12'", "co21"),
    ("configs.txt", "line_product x {'line_tag':'co10'}", "has no channel_kms", "add {'channel_kms'"),
    ("configs.txt", "line_product co21 {'channel_kms':'5'}", "channel_kms: a number is wanted, not '5'", "correct"),
    ("configs.txt", "line_product co21 {'chanel_kms':5}", "unknown parameter 'chanel_kms'", "channel_kms"),
    ("configs.txt", "line_product co21 {'combinespw':1}", "True or False is wanted", "correct"),
    ("configs.txt", "line_product co21 {'flag_edge_fraction':0.5}", "from 0 to below 0.5", "correct"),
    ("configs.txt", "line_product co21 {'lines_to_flag':'co21'}", "a list is wanted, not 'co21'", "correct"),
    ("configs.txt", "line_product co21 {'exclude_freq_ranges_ghz':[[1]]}", "a range [low,high]", "correct"),
    ("configs.txt", "line_product co21 ['a']", "a dictionary is wanted", "correct"),
    ("configs.txt", "line_product co21 {'a':", "not a value", "a dictionary"),
    ("configs.txt", "cont_product x {}", "cont_product x has no lines_to_flag", "add"),
    ("configs.txt", "cont_product x {'lines_to_flag':['cow']}", "no line or family is called 'cow'", "perhaps"),
    ("configs.txt", "cont_product co21 {'lines_to_flag':[]}", "is a line_product and a cont_product", "another name"),
    ("configs.txt", "interf_config x {'array_tags':['7m']}", "has no clean_scales_arcsec", "add"),
    ("configs.txt", "interf_config x {'array_tags':[],'clean_scales_arcsec':[0]}", "the list is empty", "correct"),
    ("configs.txt", "feather_config x {'interf_config':'8m'}", "in feather_config x: '8m'", "7m"),
    ("configs.txt", "singledish_config tp {'do_step':[9]}", "from 1 to 8", "correct"),
    ("configs.txt", "interf_config 7m {'clean_scales_arcsec':[-1]}", "a number of zero or more is wanted", "correct"),
    ("configs.txt", "array_tag 7m {'timebin':'long'}", "a time such as '30s'", "correct"),
    ("imaging.txt", "all co32 all cube.clean", "unknown product 'co32'", "co21"),
    ("imaging.txt", "all all all cube.clean", "unknown product 'all'", "all_line"),
    ("imaging.txt", "12m+7m+tp co21 all cube.clean", "unknown config '12m+7m+tp'", "12m+7m"),
    ("imaging.txt", "all co21 dusty cube.clean", "unknown stage 'dusty'", "dirty"),
    ("imaging.txt", "all co21 all cub.clean", "cub.clean does not exist", "correct its name"),
    ("cube.clean", "pblimt = 0.2", "'pblimt' is not a parameter of tclean", "pblimit"),
    ("cube.clean", "niter = many", "niter: not a value: 'many'", "one line"),
    ("cube.clean", "niter = 'many'", "niter: a number is wanted", "one line"),
    ("cube.clean", "niter", "not an assignment", "name = value"),
    ("cube.clean", "gridder = 'mosiac'", "gridder: one of standard", "quotes"),
    ("cube.clean", "robust = 3", "robust: a number from -2 to 2", "quotes"),
    ("derived.txt", "all all ang_ress {}", "unknown parameter 'ang_ress'", "ang_res"),
    ("derived.txt", "8m all ang_res {}", "unknown config '8m'", "7m"),
    ("derived.txt", "all co32 ang_res {}", "unknown product 'co32'", "co21"),
    ("derived.txt", "all co21 ang_res [2.0]", "a dictionary is wanted", "correct"),
    ("derived.txt", "all co21 ang_res {'2as':'2'}", "ang_res: a number is wanted, not '2'", "correct"),
    ("derived.txt", "all co21 phys_res {'x':0}", "above zero", "correct"),
    ("derived.txt", "all co21 moments 'm0'", "moments: not a value: 'm0'", "a list such as"),
    ("derived.txt", "all co21 moments {'m0':1}", "a list is wanted, not {'m0': 1}", "correct"),
    ("derived.txt", "all co21 moments ['mo']", "unknown moment in moments: 'mo'", "m0"),
    ("derived.txt", "all co21 mask_configs ['8m']", "unknown config in mask_configs: '8m'", "7m"),
    ("derived.txt", "all co21 noise_kw {'a':{1,2}}", "cannot be used here", "correct"),
    ("derived.txt", "12m+7m co21 phys_res {'2as':80}", "their files would be the same", "another tag"),
    ("moments.txt", "m0 algorythm mom0", "unknown parameter 'algorythm'", "algorithm"),
    ("moments.txt", "m0 algorithm mom9", "algorithm of m0: 'mom9' is not known", "mom0"),
    ("moments.txt", "m0 mask strict", "mask of m0: 'strict' is not known", "strictmask"),
    ("moments.txt", "m0 round one", "round of m0: not a value", "a number"),
    ("moments.txt", "m1 algorithm mom1", "moment m1 has no ext", "m1 ext"),
    (
        "moments.txt",
        "m0 maps_to_pass ['other']",
        "the map 'other', which no moment makes",
        "of another moment",
    ),
    ("overrides.txt", "solo pblimt 0.2", "'pblimt' cannot be overridden", "pblimit"),
    ("overrides.txt", "solo pblimit low", "pblimit of solo: a number is wanted, not 'low'", "correct"),
    ("overrides.txt", "solo cell 0.5deg", "an angle in arcsec is wanted", "correct"),
    ("lines.txt", "ab10 fast ab", "rest frequency of ab10 in GHz: a number is wanted", "correct"),
    ("casa.txt", "6.7", "CASA version with 1 column instead of 2", "path_to_casa"),
    ("download.txt", "all all 12m ['DV']", "a dictionary is wanted", "correct"),
]


@pytest.mark.parametrize(("file", "line", "text", "remedy"), SPOILED)
def test_an_error_names_its_file_line_and_remedy(
    survey, survey_files, file: str, line: str, text: str, remedy: str
) -> None:
    number = survey_files[file].count("\n") + 1
    problems = survey(append={file: line + "\n"})[1]
    errors = [problem for problem in problems if problem.severity == "error"]
    matching = [problem for problem in errors if text in problem.text]
    assert matching, told(problems)
    assert (matching[0].file.name, matching[0].line) == (file, number)
    assert remedy in matching[0].remedy


# file, line to append -> the only warning
DOUBTFUL = [
    ("master.txt", "ms_key ms.txt", "ms.txt is listed twice as ms_key"),
    ("master.txt", "ms_key nothing.txt", "nothing.txt does not exist"),
    ("master.txt", "key_dir /no/such/folder", "key_dir /no/such/folder does not exist"),
    ("ms.txt", "solo p2 all 7m 1 e2.ms", "measurement set solo p2 7m 1 is given again"),
    ("ms.txt", "solo p2 all 7m 2 e.ms", "e.ms is also solo p2 7m 1"),
    ("ms.txt", "solo p2 all 8m 2 f.ms", "array tag '8m' is in no interf_config"),
    ("ms.txt", "sola p2 all 7m 2 x.ms", "measurement set of sola, which is not a target"),
    ("mosaics.txt", "gal gal_1", "gal_1 is a part of gal already"),
    ("dirs.txt", "gal_1 other", "the directory of gal_1 is given again"),
    ("dirs.txt", "sol other", "directory of sol, which is not a target"),
    ("tp.txt", "gal_1 co21 b.fits", "singledish of gal_1 co21 is given again"),
    ("masks.txt", "gal_3 co21 b.fits", "cleanmask file of gal_3, which is not a target"),
    ("distances.txt", "gal_1,9", "the distance of gal_1 is not used: that of its mosaic gal counts"),
    ("distances.txt", "solo,9", "the distance of solo is given again"),
    ("windows.txt", "other,30,", "window of other, which is not a target"),
    ("configs.txt", "line_product co21 {'channel_kms':3}", "channel_kms is given again"),
    ("configs.txt", "interf_config 7m {'res_min_pc':3}", "res_min_pc is not used"),
    ("configs.txt", "interf_config 7m {'requires':['7m|8m']}", "'8m' is not one of its array_tags"),
    ("configs.txt", "array_tag 9m {'timebin':'10s'}", "array_tag 9m is in no interf_config"),
    ("overrides.txt", "sola cell 1", "override of cell for 'sola', which is no target and no cube"),
    ("overrides.txt", "solo cell 1", "cell of solo is given again"),
    ("overrides.txt", "solo max_loops 5", "max_loops of solo has no effect"),
    ("moments.txt", "m0 ext _x", "ext of m0 is given again"),
    ("cube.clean", "chanchunks = 1", "tclean takes no chanchunks"),
    ("cube.clean", "pblimit = 0.3", "pblimit is given again"),
    ("download.txt", "all all 12m {'antenna':'CM'}", "antenna in the restriction of all all 12m is given again"),
]


@pytest.mark.parametrize(("file", "line", "text"), DOUBTFUL)
def test_a_warning_names_its_file_and_line(survey, survey_files, file: str, line: str, text: str) -> None:
    problems = survey(append={file: line + "\n"})[1]
    assert [(item.severity, item.file.name, item.line) for item in problems] == [
        ("warning", file, survey_files[file].count("\n") + 1)
    ]
    assert text in problems[0].text
    assert problems[0].remedy


def test_targets_without_what_is_wanted_of_them_are_told(survey) -> None:
    flat = "m0 algorithm mom0\nm0 mask flatstrictmask\nm0 ext _m\n"
    changes = {"distances.txt": "", "windows.txt": "", "moments.txt": flat}
    texts = told(survey(changes, append={"targets.txt": "new 1h 1d 1 5\n"})[1], "warning")
    assert [text.split(" ")[1:6] for text in texts] == [
        ["target", "new", "has", "no", "measurement"],
        ["gal", "has", "no", "distance,", "which"],
        ["gal", "has", "no", "velocity", "window,"],
        ["solo", "has", "no", "velocity", "window,"],
    ]


@pytest.mark.parametrize(
    ("position", "odd"),
    [
        ("01h02m03.4s -05d06m07s", False),
        ("04h59m57.8 +3d", False),
        ("150.1deg -2.0deg", False),
        ("1h2m -05d06m", False),
        ("-05d06m07s 01h02m03s", True),
        ("01:02:03 -05:06:07", True),
        ("150.1 -2.0", True),
    ],
)
def test_positions_that_may_be_misread_are_told(survey, position: str, odd: bool) -> None:
    warnings = told(survey(append={"targets.txt": f"new {position} 100 5\n"})[1], "warning")
    assert any("the position of new" in text for text in warnings) == odd


def test_a_config_whose_arrays_no_target_has_is_told_with_what_lacks(survey) -> None:
    lines = (
        "interf_config both {'array_tags':['12m','9m'],'clean_scales_arcsec':[0]}\n"
        "interf_config none {'array_tags':['9m'],'clean_scales_arcsec':[0]}\n"
    )
    problems = survey(append={"configs.txt": lines})[1]
    assert told(problems, "warning")[-2:] == [
        "configs.txt:7 no target has the data that config both needs: gal_1, say, has none of 9m",
        "configs.txt:8 no target has the data that config none needs",
    ]
    assert "'requires':['12m|9m']" in problems[-2].remedy


def test_what_has_no_recipe_is_told_once_for_all_configs(survey) -> None:
    project, problems = survey({"imaging.txt": "all co21 all cube.clean\n7m cont dirty cont.clean\n"})
    assert told(problems) == []
    assert [text for text in told(problems, "warning") if "no recipe for" in text] == [
        "imaging.txt:None no recipe for cont of 12m+7m (dirty, multiscale, singlescale): staged, but not imaged",
        "imaging.txt:None no recipe for cont of 7m (multiscale, singlescale): staged, but not imaged",
    ]
    assert project.recipe_files["7m"]["cont"] == ()
    assert set(project.recipes["7m"]) == {"co21"}


def test_a_recipe_that_a_later_line_names_again_is_told_so(survey) -> None:
    before = "7m co21 all cube.clean\n7m co21 dirty cont.clean\n"
    after = "all co21 all cube.clean\nall cont all cont.clean\n"
    assert told(survey({"imaging.txt": before + after})[1], "warning")[:2] == [
        "imaging.txt:1 no recipe is taken from this line: later ones say the same",
        "imaging.txt:2 no recipe is taken from this line: later ones say others",
    ]


def test_lines_about_no_targets_are_told_together_but_for_slips(survey) -> None:
    distances = "galaxy,distance\ngal,10\nsolo,5\nngc1,3\nngc2,4\nsool,7\n"
    texts = told(survey({"distances.txt": distances})[1], "warning")
    assert texts == [
        "distances.txt:6 distance of sool, which is not a target: not used",
        "distances.txt:4 distance of ngc1, ngc2 (line 5), which are not targets: not used",
    ]


def test_a_recipe_of_the_wrong_kind_is_refused(survey) -> None:
    problems = survey(append={"imaging.txt": "7m co21 all cont.clean\n"})[1]
    assert told(problems) == ["cont.clean:1 specmode 'mfs' in a recipe of the line product co21"]


def test_names_that_give_the_same_files_are_refused(survey) -> None:
    more = "a 1h 1d 1 5\na_b 1h 1d 1 5\n"
    configs = "interf_config b_7m {'array_tags':['7m'],'clean_scales_arcsec':[0]}\n"
    files = {"dirs.txt": "a x\na_b x\n"}
    errors = told(survey(files, append={"targets.txt": more, "configs.txt": configs})[1])
    assert "would both be a_b_7m_co21.fits" in errors[0]


def test_everything_is_told_at_once_and_the_message_lists_it(survey, tmp_path) -> None:
    broken = {"targets.txt": "solo 1h 1d a 5\nx\n", "configs.txt": "lineproduct x {}\n", "masks.txt": b"\0"}
    problems = survey(broken)[1]
    places = {(item.file.name, item.line) for item in problems if item.severity == "error"}
    assert {("targets.txt", 1), ("targets.txt", 2), ("configs.txt", 1), ("masks.txt", None)} <= places
    with pytest.raises(KeysError) as caught:
        load_or_raise(tmp_path / "keys/master.txt")
    for item in problems:
        if item.severity == "error":
            assert str(item) in str(caught.value)
    assert f"{tmp_path}/keys/targets.txt:1: vsys of solo" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.problems, again.kind) == (str(caught.value), caught.value.problems, "data")


def test_a_master_key_that_is_not_there_is_one_error(tmp_path) -> None:
    with pytest.raises(KeysError, match=r"nothing\.txt") as caught:
        load_or_raise(tmp_path / "nothing.txt")
    assert caught.value.problems[0].file == tmp_path / "nothing.txt"


def test_lenient_mode_leaves_faulty_lines_out_and_tells_each(survey) -> None:
    spoiled = {"ms.txt": "short line\n", "configs.txt": "lineproduct x {}\n", "derived.txt": "all co21 moments ['x']\n"}
    project, problems = survey(append=spoiled, lenient=True)
    assert not told(problems)
    assert len(told(problems, "warning")) == 3
    assert project.derived["7m"]["co21"].moments == ("m0",)
    assert survey({"configs.txt": ""}, lenient=True)[1][0].severity == "error"


def test_faults_met_by_wildcards_are_told_once(survey) -> None:
    problems = survey(append={"derived.txt": "all all moments ['x']\nall all ang_res {'a':'b'}\n"})[1]
    assert len(problems) == 2


def test_a_recipe_that_later_lines_take_the_place_of_is_told(survey, survey_files) -> None:
    lines = "7m co21 dirty deep.clean\nall co21 all cube.clean\n7m co21 multiscale deep.clean\n"
    _, problems = survey(append={"imaging.txt": lines})
    first = len(survey_files["imaging.txt"].splitlines())
    unread = [(item.line, item.severity) for item in problems if "no recipe is taken from this line" in item.text]
    assert unread == [(1, "warning"), (first + 1, "warning")]


def test_raw_single_dish_data_are_told_once(survey, survey_files) -> None:
    count = len(survey_files["ms.txt"].splitlines())
    problems = survey(append={"ms.txt": "gal_1 p1 all tp 1 raw1\ngal_2 p1 all tp 2 raw2\nsolo p2 all ACA 1 f.ms\n"})[1]
    [found] = [item for item in problems if "single-dish data" in item.text]
    assert (found.severity, found.file.name, found.line) == ("warning", "ms.txt", count + 1)
    assert "2 of its lines" in found.text
    assert "singledish_key" in found.remedy
    [other] = [item for item in problems if "'ACA' is in no interf_config" in item.text]
    assert "tp" not in other.remedy.split(": ")[1].split(", ")
    assert not [item for item in survey()[1] if "single-dish data" in item.text]
