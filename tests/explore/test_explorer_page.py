"""The page stands alone: nothing is fetched, nothing runs, nothing is lost."""

import base64
import html.parser
import io

import numpy as np
import pytest
from PIL import Image

from hpax.explore import page

EVIL = "\"><script>alert(1)</script><img src=http://evil onerror=alert(1)> & 'x'"
VOID = {"meta", "img"}


class Reader(html.parser.HTMLParser):
    """Reads a page as a browser would, and checks that every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def values(self, name):
        return [value for key, value in self.attributes if key == name]


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


@pytest.fixture
def blocks(picture):
    table = page.Table([EVIL, "trained"], [[EVIL, 0.51234], ["conv2", float("nan")], ["conv3", None], ["n", 12]], EVIL)
    return [page.Text(EVIL), page.Text(EVIL, fixed=True), table, page.Picture(picture, EVIL, EVIL)]


def test_content_is_shown_word_for_word_and_never_obeyed(blocks):
    read = Reader(page.page(EVIL, EVIL, [page.Section(EVIL, blocks)]))
    assert "script" not in read.tags
    assert read.tags.count("img") == 1
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert read.values("alt") == [EVIL]
    assert "".join(read.words).count(EVIL) == 10


def test_nothing_is_fetched(blocks):
    text = page.page("title", "about", [page.Section("heading", blocks)])
    read = Reader(text)
    assert [source.split(",")[0] for source in read.values("src")] == ["data:image/png;base64"]
    assert not read.values("href")
    assert "url(" not in text
    assert "@import" not in text
    safe = page.page("title", "about", [page.Section("heading", [blocks[3].__class__(blocks[3].image, "words")])])
    assert "http:" not in safe
    assert "https:" not in safe


def test_a_picture_comes_back_pixel_for_pixel(picture):
    read = Reader(page.Picture(picture, "noise").html())
    data = base64.b64decode(read.values("src")[0].split(",")[1], validate=True)
    np.testing.assert_array_equal(Image.open(io.BytesIO(data)), picture)
    assert (read.values("width"), read.values("height")) == (["8"], ["6"])


def test_cells_are_numbers_to_the_right_and_dashes_for_nothing(blocks):
    text = blocks[2].html()
    for cell in ("0.512", "–", "12"):
        assert f'<td class="number">{cell}</td>' in text
    assert text.count("–") == 2
    assert text.count('<th scope="row">') == 4


def test_the_same_content_gives_the_same_bytes(blocks):
    assert page.page("a", "b", [page.Section("c", blocks)]) == page.page("a", "b", [page.Section("c", blocks)])


def test_what_a_reader_could_not_understand_is_refused(picture):
    with pytest.raises(ValueError, match="alt text"):
        page.Picture(picture, " ")
    with pytest.raises(ValueError, match="each row needs 2 cells"):
        page.Table(["a", "b"], [["x", 1.0], ["y"]])


def test_a_written_page_replaces_the_old_one_whole(tmp_path, monkeypatch):
    path = tmp_path / "index.html"
    page.write(path, "old")
    page.write(path, "é new")
    assert path.read_bytes() == "é new".encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["index.html"]


def test_what_stands_between_backticks_is_code_and_still_escaped():
    shown = page.Text("see `hpax label <x>` and ` alone").html()
    assert shown == "<p>see <code>hpax label &lt;x&gt;</code> and ` alone</p>"
    assert "<code>a</code>" in page.Table(["b"], [["`a`"]]).html()
    assert "`a`" in page.Text("`a`", fixed=True).html()
