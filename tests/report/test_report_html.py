import base64
import io
import re

import matplotlib.image
import numpy as np
import pytest

from pipeline_lib.report.html import Html, chart, element, joined, picture, table


def pixels_of(markup: str) -> np.ndarray:
    data = re.search(r'src="data:image/webp;base64,([^"]+)"', markup)
    assert data is not None
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(data[1])), format="webp")[..., :3]


def test_plain_text_is_escaped_and_markup_is_not() -> None:
    assert element("p", "a < b & 'c'", title='"q"') == '<p title="&quot;q&quot;">a &lt; b &amp; &#x27;c&#x27;</p>'
    assert element("p", element("b", "x<")) == "<p><b>x&lt;</b></p>"
    assert joined(["<", Html("<br>")], "") == "&lt;<br>"


def test_tables_set_numbers_right() -> None:
    markup = table(("name", "count"), [("a", 1), ("b", 2)])
    assert markup.count('<td class="text">') == 2
    assert '<td class="number">1</td>' in markup
    assert '<th class="number" scope="col">count</th>' in markup
    with pytest.raises(ValueError, match="zip"):
        table(("name", "count"), [("a", 1, 2)])


def test_a_picture_holds_its_very_pixels() -> None:
    rgb = np.random.default_rng(0).random((7, 5, 3))
    np.testing.assert_array_equal(pixels_of(picture(rgb, extent_nm=(7, 5), alt="x")), np.round(rgb * 255))
    grey = np.linspace(0, 1, 35).reshape(7, 5)
    np.testing.assert_array_equal(pixels_of(picture(grey, extent_nm=(7, 5), alt="x"))[..., 1], np.round(grey * 255))


def test_a_picture_keeps_the_aspect_of_its_extent() -> None:
    markup = picture(np.zeros((10, 20)), extent_nm=(400, 200), alt="x", ring=(0.25, 0.5))
    assert "aspect-ratio:200/400" in markup
    assert "width:25.00%" in markup  # a bar of 50 nm in 200 nm
    assert "50 nm" in markup
    assert "top:25.00%;left:50.00%" in markup


def test_a_chart_is_an_image_of_its_own() -> None:
    markup = chart("<svg>curve</svg>", "a 'curve'", note="over x")
    assert base64.b64encode(b"<svg>curve</svg>").decode() in markup
    assert "<figcaption>over x</figcaption>" in markup
    assert 'alt="a &#x27;curve&#x27;"' in markup
