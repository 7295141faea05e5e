"""Options of derived products are checked where they are written (derived specification, W1b, W14, W19)."""

from __future__ import annotations

import pytest

MOMENTS = "m0 algorithm mom0\nm0 mask strictmask\nm0 ext _mom0\nm0 ext_error _emom0\n"
HYBRID = "h algorithm mom1wprior\nh ext _mom1wprior\n"


def problems_at(survey, file, text):
    """Return the errors of the lines appended to `file`, as (line within the appended ones, text)."""
    before = len(survey()[1])
    _, found = survey(append={file: text})
    assert len(found) >= before
    return [
        (problem.line, str(problem)) for problem in found if problem.file.name == file and problem.severity == "error"
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("all co21 strictmask_kw {'hi_tresh':5}", "strictmask_kw has no option 'hi_tresh' (perhaps hi_thresh"),
        ("all co21 broadmask_kw {'grow_xy':-1}", "grow_xy of broadmask_kw: a number of zero or more is wanted"),
        ("all co21 broadmask_kw {'recipe':'anyscales'}", "one of anyscale, somescales is wanted"),
        ("all co21 flatstrictmask_kw {'v_window':'50km/s'}", "flatstrictmask_kw has no option 'v_window'"),
        ("all co21 flatbroadmask_kw {'window':'50 pc'}", "a velocity width such as 50km/s is wanted"),
        ("all co21 shuffle_kw {'kernel':'cubic'}", "one of fourier, linear, sinc is wanted"),
        ("all co21 convolve_kw {'tol':2}", "tol of convolve_kw"),
        ("all co21 noise_kw {'iterations':0}", "iterations of noise_kw"),
        ("all co21 strictmask_kw {'connectivity':4}", "connectivity of strictmask_kw"),
        ("all co21 strictmask_kw {'coverage_thresh':95}", "coverage_thresh of strictmask_kw"),
    ],
)
def test_an_option_of_a_product_is_an_error_with_its_line(survey, line, said):
    ((number, text),) = problems_at(survey, "derived.txt", line + "\n")
    assert number == 6
    assert said in text


@pytest.mark.parametrize(
    "line",
    [
        "strictmask_kw {'hi_thresh':4,'min_pix':None,'prune':'final','connectivity':2,'coverage_thresh':0.9}",
        "broadmask_kw {'recipe':'somescales','fraction_of_scales':0.25,'grow_v':1}",
        "flatstrictmask_kw {'window':50}",
        "flatbroadmask_kw {'window':'50 km/s'}",
        "shuffle_kw {'kernel':'sinc'}",
        "convolve_kw {'spec_smooth':'5km/s','pixels_per_beam':3}",
        "convolve_kw {}",
    ],
)
def test_good_options(survey, line):
    assert problems_at(survey, "derived.txt", f"all co21 {line}\n") == []


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("m0 kwargs {'windw':'5km/s'}", 5, "mom0 (m0) has no option 'windw'"),
        ("p algorithm tpeak\np ext _p\np kwargs {'window':'12 pc'}", 7, "window of tpeak (p)"),
        ("p algorithm tpeak\np ext _p\np kwargs {'masked':1}", 7, "True or False is wanted"),
        (f"{HYBRID}h kwargs {{'vfield_reject':20}}", 7, "has no option 'vfield_reject' (perhaps vfield_reject_thresh"),
        (f"{HYBRID}h maps_to_pass ['mom0']", 7, "mom1wprior takes no map 'mom0'"),
        ("m0 maps_to_pass ['emom0']", 5, "mom0 takes no maps"),
        (f"{HYBRID}h other_exts {{'prior':'_x.fits'}}", 7, "takes no map 'prior'"),
        (f"{HYBRID}h other_exts {{'vfield_prior':[]}}", 7, "other_exts of h: a text is wanted"),
        (f"{HYBRID}h maps_to_pass ['strict_mom1']", 7, "is passed the map 'strict_mom1', which no moment makes"),
        ("vfield algorithm mom0", 5, "a moment cannot be called 'vfield'"),
    ],
)
def test_what_a_map_is_given_is_checked(survey, text, line, said):
    found = problems_at(survey, "moments.txt", text + "\n")
    assert any(number == line and said in words for number, words in found)


def test_wrong_options_do_not_reach_the_project(survey):
    """In lenient mode they are warnings, and left out."""
    project, _ = survey(
        append={
            "derived.txt": "all co21 strictmask_kw {'hi_tresh':5,'lo_nchan':3}\n",
            "moments.txt": "m0 kwargs {'windw':1,'line_width':'20km/s'}\n",
        },
        lenient=True,
    )
    assert project.derived["7m"]["co21"].kwargs["strictmask_kw"] == {"lo_nchan": 3}
    assert project.moments["m0"].kwargs == {"line_width": "20km/s"}


def test_priors_in_the_order_they_are_to_be_tried(survey):
    text = f"{HYBRID}h other_exts {{'vfield_prior':['_a.fits','_b.fits']}}\nk algorithm mom1wprior\nk ext _k\n"
    project, _ = survey(append={"moments.txt": f"{text}k other_exts {{'vfield_prior':'_a.fits'}}\n"})
    assert project.moments["h"].other_exts == {"vfield_prior": ("_a.fits", "_b.fits")}
    assert project.moments["k"].other_exts == {"vfield_prior": "_a.fits"}


def test_two_moments_with_one_file_are_told(survey):
    _, found = survey(append={"moments.txt": "m1 algorithm mom1\nm1 ext _emom0\n"})
    assert any("would both end in _emom0.fits" in problem.text for problem in found)
