"""The page as a file: its sections, its pictures, its links, and that it needs nothing but itself."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from fringeflow_derived.page import CubeEntry, overview_figure, write_page


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"img", "meta"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def of(self, tag: str, attribute: str) -> list[str]:
        return [attributes[attribute] for name, attributes in self.seen if name == tag and attribute in attributes]


def tags_of(text: str) -> Tags:
    tags = Tags()
    tags.feed(re.sub(r"<style>.*</style>", "", text, flags=re.DOTALL))
    return tags


@pytest.fixture(scope="module")
def text(disc_page: Path) -> str:
    return disc_page.read_text(encoding="utf-8")


def test_it_has_every_section(text: str) -> None:
    wanted = ["At a glance", "Moment maps", "Spectrum", "Channel maps", "Position-velocity cut", "Resolutions"]
    wanted += ["Noise and primary beam", "Imaging", "Files", "At a glance", "Imaging", "Files", "Seconds of each step"]
    assert re.findall(r"<h3>(.*?)</h3>", text) == wanted


def test_the_title_is_escaped_and_facts_are_shown(text: str) -> None:
    assert "<h1>A &lt;disc&gt; &amp; more</h1>" in text
    assert "flux change below 1 %" in text
    assert "12.50 s" in text


def test_pictures_are_png_with_something_on_them(text: str) -> None:
    sources = tags_of(text).of("img", "src")
    assert len(sources) >= 14
    for source in sources:
        head, _, data = source.partition(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert np.asarray(picture.convert("L")).std() > 5


def test_tags_are_balanced_and_figures_captioned(text: str) -> None:
    tags = tags_of(text)
    assert tags.open == []
    assert 0 < text.count("<img") <= text.count("<figcaption")


def test_links_lead_to_files_and_anchors(text: str, disc_page: Path) -> None:
    tags = tags_of(text)
    anchors = set(tags.of("article", "id") + tags.of("section", "id"))
    links = tags.of("a", "href")
    assert len(links) > 30
    for link in links:
        if link.startswith("#"):
            assert link[1:] in anchors
        else:
            assert (disc_page.parent / unquote(link)).is_file()


def test_nothing_comes_from_the_network(text: str) -> None:
    without_pictures = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert "default-src 'none'" in without_pictures
    for word in ("http:", "https:", "//", "<script", "<link", "@import", "url("):
        assert word not in without_pictures


def test_what_is_missing_is_said(text: str, disc: ModuleType) -> None:
    notes = re.findall(r'<p class="note">(.*?)</p>', text)
    for name in ("strict_ew", "strict_vpeak", "strict_vquad"):
        assert f"Not shown: derived/disc/disc_7m+tp_hi21cm_{name}.fits is not there" in notes
    assert any("disc_7m+tp_cont_psf.fits" in note for note in notes)


def test_an_entry_without_any_file_is_said(tmp_path: Path) -> None:
    entries = [CubeEntry("m1", "m1", "12m", "co21"), CubeEntry("m1", "m1", "12m", "cont", kind="continuum")]
    text = write_page(tmp_path / "nothing", tmp_path / "page.html", entries).read_text(encoding="utf-8")
    assert "m1_12m_co21_pbcorr_trimmed_k.fits is not there" in text
    assert "m1_12m_cont.fits is not there" in text
    assert "<img" not in text


def test_a_broken_file_spoils_only_its_own_picture(disc: ModuleType, line_entry: CubeEntry, tmp_path: Path) -> None:
    disc.write(tmp_path)
    for broken in ("derived/disc/disc_7m+tp_hi21cm_strict_mom2.fits", "imaging/disc/disc_7m+tp_hi21cm_psf.fits"):
        (tmp_path / broken).write_bytes(b"not FITS")
    entry = CubeEntry(line_entry.target, line_entry.directory, line_entry.config, line_entry.product)
    text = write_page(tmp_path, tmp_path / "page.html", [entry]).read_text(encoding="utf-8")
    notes = " ".join(re.findall(r'<p class="note">(.*?)</p>', text))
    assert "strict_mom2.fits cannot be read" in notes
    assert "psf.fits cannot be read" in notes
    assert "strict_mom1.fits" not in notes


def test_a_cube_without_signal_has_a_page(disc: ModuleType, line_entry: CubeEntry, tmp_path: Path) -> None:
    disc.write(tmp_path, signal=False)
    entry = CubeEntry(line_entry.target, line_entry.directory, line_entry.config, line_entry.product)
    text = write_page(tmp_path, tmp_path / "page.html", [entry]).read_text(encoding="utf-8")
    assert "no position angle can be fitted" in text
    assert "no flux in the masks" in text
    assert text.count("<img") >= 8


def test_equal_products_give_equal_bytes(
    disc_products: Path, line_entry: CubeEntry, continuum_entry: CubeEntry, tmp_path: Path
) -> None:
    pages = [write_page(disc_products, tmp_path / name, [continuum_entry]).read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]
    pictures = [overview_figure(disc_products, line_entry, tmp_path / name).read_bytes() for name in ("c", "d")]
    assert pictures[0] == pictures[1]
    with Image.open(io.BytesIO(pictures[0])) as picture:
        assert picture.width == 1600
        assert 500 <= picture.height <= 600
