"""matplotlib's SVG, fit to stand in a page: only known elements and attributes, no styles, ids of its own.

Styles become presentation attributes, so that a page may forbid inline styles. What is not on the lists below, such as
metadata, scripts, style sheets and links to anywhere but the figure itself, is left out.
"""

import io
import re
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_ELEMENTS = {"svg", "g", "defs", "path", "clipPath", "rect", "use", "text", "tspan", "image", "pattern", "circle"}
_ATTRIBUTES = {
    *("id", "d", "x", "y", "dx", "dy", "width", "height", "transform", "viewBox", "preserveAspectRatio", "clip-path"),
    *("cx", "cy", "r", "rx", "ry", "patternUnits", "patternTransform", "fill", "stroke", "stroke-width", "opacity"),
    *("stroke-dasharray", "stroke-dashoffset", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit"),
    *("fill-opacity", "stroke-opacity", "fill-rule", "font-size", "font-style", "font-weight", "text-anchor"),
    *("clip-rule", "stroke-opacity", "image-rendering"),
}
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_PICTURE = "data:image/png;base64,"
_FONT = re.compile(r"(?:(?P<style>italic|oblique)\s+)?(?:(?P<weight>bold|[1-9]00)\s+)?(?P<size>[\d.]+)px")
# Pixels an inch of pictures inside the figure: sharp at twice the size on paper.
_RESOLUTION = 220


def inline_svg(figure: Any, *, name: str, label: str) -> str:
    """Return a figure as an `<svg>` element.

    Args:
        figure: a matplotlib figure; draw it with `svg.fonttype` "none", which keeps text as text.
        name: the prefix of its ids, unique in the page.
        label: its text alternative.
    """
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, dpi=_RESOLUTION)
    root = ElementTree.fromstring(buffer.getvalue())
    used: dict[str, str] = {}
    for element in root.iter():
        for target in _targets(element):
            used.setdefault(target, f"{name}-{len(used) + 1}")
    out: list[str] = []
    _write(root, used, out, {"role": "img", "aria-label": label, "focusable": "false"})
    return "".join(out)


def _targets(element: ElementTree.Element) -> list[str]:
    """Return the ids that an element refers to."""
    link = element.get(_XLINK, element.get("href", ""))
    found = [match for value in element.attrib.values() for match in _REFERENCE.findall(value)]
    return [*found, link[1:]] if link.startswith("#") else found


def _write(element: ElementTree.Element, used: dict[str, str], out: list[str], extra: dict[str, str]) -> None:
    tag = element.tag.removeprefix(_SVG) if isinstance(element.tag, str) else ""
    if tag not in _ELEMENTS:
        return
    attributes = {**_attributes(element, used), **extra}
    if tag == "svg":
        for side in ("width", "height"):
            attributes.pop(side, None)
    if tag in ("use", "image") and "href" not in attributes:
        return
    inside: list[str] = []
    text = element.text or ""
    if text.strip():
        inside.append(escape(text))
    for child in element:
        _write(child, used, inside, {})
    if tag in ("g", "defs") and not inside:
        return
    out.append(f"<{tag}{''.join(f' {key}={quoteattr(value)}' for key, value in attributes.items())}")
    out.append(f">{''.join(inside)}</{tag}>" if inside else "/>")


def _attributes(element: ElementTree.Element, used: dict[str, str]) -> dict[str, str]:
    """Return the attributes that may stay, styles among them, with the page's ids."""
    given = {**element.attrib, **_styles(element.get("style", ""))}
    kept = {}
    for key, value in given.items():
        if key not in _ATTRIBUTES:
            continue
        if key == "id":
            if value in used:
                kept[key] = used[value]
            continue
        kept[key] = _REFERENCE.sub(lambda match: f"url(#{used[match[1]]})", value)
    link = element.get(_XLINK, element.get("href", ""))
    if link.startswith("#") and link[1:] in used:
        kept["href"] = f"#{used[link[1:]]}"
    elif link.startswith(_PICTURE):
        kept["href"] = _PICTURE + "".join(link.removeprefix(_PICTURE).split())
    return kept


def _styles(style: str) -> dict[str, str]:
    """Return a style's properties as attributes; of a font, its size, weight and slant."""
    found = {}
    for entry in style.split(";"):
        key, _, value = (part.strip() for part in entry.partition(":"))
        if key == "font" and (font := _FONT.match(value)) is not None:
            found["font-size"] = font["size"]
            found |= {f"font-{part}": font[part] for part in ("style", "weight") if font[part]}
        elif key == "font-size":
            found[key] = value.removesuffix("px")
        elif key:
            found[key] = value
    return found
