"""The few HTML parts that the page is put together from. Plain text is escaped here; `Html` is taken as it is."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Collection, Iterable, Sequence

import matplotlib.image
import numpy as np

from pipeline_lib.report.units import bar_length, round_length_nm

_PIXELATED_BELOW = 300  # pictures of fewer rows or columns are shown larger than they are


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def escaped(content: object) -> Html:
    return content if isinstance(content, Html) else Html(html.escape(str(content), quote=True))


def joined(parts: Iterable[object], between: str = "\n") -> Html:
    return Html(between.join(escaped(part) for part in parts))


def element(tag: str, *parts: object, **attributes: object) -> Html:
    """One element; a trailing underscore of an attribute's name is dropped (class_), an inner one becomes a hyphen."""
    told = "".join(f' {name.rstrip("_").replace("_", "-")}="{escaped(value)}"' for name, value in attributes.items())
    return Html(f"<{tag}{told}>{joined(parts, '')}</{tag}>")


def document(title: str, body: Html, *, style: str, script: str = "") -> str:
    """A page that needs no other file."""
    head = (
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{escaped(title)}</title>",
        f"<style>{style}</style>",
    )
    after = f"<script>{script}</script>" if script else ""
    page = f"<body>{body}{after}</body>"
    return "\n".join(["<!DOCTYPE html>", '<html lang="en">', "<head>", *head, "</head>", page, "</html>", ""])


def section(anchor: str, title: str, *parts: object) -> Html:
    return element("section", element("h2", title), *parts, id=anchor)


def table(
    header: Sequence[object], rows: Iterable[Sequence[object]], *, text: Collection[int] = (0,), class_: str = ""
) -> Html:
    """A table that scrolls sideways where it is too wide. text: columns that hold words; the others hold numbers, set right."""
    kinds = ["text" if column in text else "number" for column in range(len(header))]
    head = element("tr", *(element("th", cell, class_=kind, scope="col") for cell, kind in zip(header, kinds, strict=True)))
    body = [element("tr", *(element("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True))) for row in rows]
    grid = element("table", element("thead", head), element("tbody", *body), class_=class_)
    return element("div", grid, class_="scroll")


def facts(pairs: Iterable[tuple[object, object]]) -> Html:
    """Names and values in two columns."""
    rows = (element("tr", element("th", name, scope="row"), element("td", value)) for name, value in pairs)
    return element("div", element("table", element("tbody", *rows), class_="facts"), class_="scroll")


def details(title: str, *parts: object) -> Html:
    return element("details", element("summary", title), *parts)


def caption(*parts: object) -> Html:
    return element("p", *parts, class_="caption")


def chart(svg: str, alt: str, *, note: str = "") -> Html:
    """An SVG drawing as an image of its own, so that its names cannot clash with those of another."""
    image = _image("image/svg+xml", svg.encode(), alt)
    return element("figure", image, *([element("figcaption", note)] if note else []), class_="chart")


def picture(
    rgb: np.ndarray,
    *,
    extent_nm: tuple[float, float],
    alt: str,
    ring: tuple[float, float] | None = None,
    scale_bar: bool = True,
) -> Html:
    """Pixels (rows, columns, 3) or (rows, columns), 0..1, at the aspect of their extent (down, right), as lossless WebP.

    ring: where to draw one, as fractions of the extent (down, right).
    """
    data = io.BytesIO()
    pixels = np.round(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    matplotlib.image.imsave(data, pixels, format="webp", pil_kwargs={"lossless": True})  # a third of a PNG here
    class_ = "pixelated" if min(pixels.shape[:2]) < _PIXELATED_BELOW else ""
    down_nm, right_nm = extent_nm
    image = _image("image/webp", data.getvalue(), alt, class_=class_, style=f"aspect-ratio:{right_nm:g}/{down_nm:g}")
    marks = []
    if scale_bar:
        bar_nm = round_length_nm(0.35 * right_nm)
        width = f"width:{100 * bar_nm / right_nm:.2f}%"
        marks.append(element("span", element("span", bar_length(bar_nm)), class_="scalebar", style=width))
    if ring:
        marks.append(element("span", class_="ring", style=f"top:{100 * ring[0]:.2f}%;left:{100 * ring[1]:.2f}%"))
    return element("div", image, *marks, class_="picture")


def _image(kind: str, data: bytes, alt: str, **attributes: object) -> Html:
    told = "".join(f' {name.rstrip("_")}="{escaped(value)}"' for name, value in attributes.items() if value)
    return Html(f'<img src="data:{kind};base64,{base64.b64encode(data).decode()}" alt="{escaped(alt)}"{told}>')
