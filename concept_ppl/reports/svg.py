"""How a drawing becomes an SVG: the same bytes each time, and safe to stand inside a page.

Figures of this package keep their text as text, in the reader's own sans-serif: it stays sharp,
searchable and follows the page's theme. Text of a foreign matplotlib figure becomes outlines.
"""

import io
import re
import warnings
from typing import Final
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from concept_ppl.errors import InputError

from .palette import CSS_VARIABLES, report_style

_SVG: Final = "http://www.w3.org/2000/svg"
_XLINK: Final = "http://www.w3.org/1999/xlink"
_FORBIDDEN: Final = {"script", "foreignObject", "iframe", "object", "embed", "handler"}
_TYPEFACE: Final = "system-ui, 'Helvetica Neue', Arial, sans-serif"
_MATPLOTLIB_STYLE: Final = "*{stroke-linejoin: round; stroke-linecap: butt}"

ET.register_namespace("", _SVG)
ET.register_namespace("xlink", _XLINK)


def draw_svg(drawing: Canvas | str, name: str, *, themed: bool) -> ET.Element:
    """Turn a drawing into a checked SVG element without metadata.

    Parameters
    ----------
    drawing
        A matplotlib figure or the text of an SVG.
    name
        Of the figure; its ids begin with it, so that two figures can stand on one page.
    themed
        Drawn in the style and colours of this package.

    Raises
    ------
    InputError
        If the text is not SVG, or runs a script or loads anything from elsewhere.
    """
    source = drawing if isinstance(drawing, str) else _matplotlib_svg(drawing, name, themed=themed)
    try:
        root = ET.fromstring(source)
    except ET.ParseError as error:
        raise InputError(f"figure {name}: the SVG cannot be parsed: {error}.") from error
    if root.tag != f"{{{_SVG}}}svg":
        raise InputError(f"figure {name}: the drawing is not an SVG.")
    _drop_metadata(root)
    _refuse_foreign(root, name)
    _prefix_ids(root, name)
    if themed:
        _set_typeface(root)
    return root


def standalone(root: ET.Element) -> str:
    """Write an SVG as a file of its own."""
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def inline(root: ET.Element, description: str, *, themed: bool) -> str:
    """Write an SVG to stand in a page, sized and coloured by the page and described in words."""
    page = ET.fromstring(ET.tostring(root))
    _ensure_view_box(page)
    page.set("role", "img")
    page.set("aria-label", description)
    page.set("focusable", "false")
    if themed:
        for element in page.iter():
            for attribute in ("style", "fill", "stroke"):
                if attribute in element.attrib:
                    element.set(attribute, _follow_theme(element.attrib[attribute]))
    return ET.tostring(page, encoding="unicode")


def _matplotlib_svg(canvas: Canvas, name: str, *, themed: bool) -> str:
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    buffer = io.StringIO()
    with report_style(), warnings.catch_warnings():
        # Text stays text: a glyph missing from the font of the layout is not missing on the page.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcParams["svg.fonttype"] = "none" if themed else "path"
        mpl.rcParams["svg.hashsalt"] = name
        canvas.savefig(buffer, format="svg", metadata=nothing, dpi=72)
    return buffer.getvalue()


def _drop_metadata(root: ET.Element) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            is_default = (
                _local(child) == "style" and (child.text or "").strip() == _MATPLOTLIB_STYLE
            )
            if _local(child) == "metadata" or is_default:
                parent.remove(child)
            if is_default:
                # Said of the root alone: a rule for every element would reach the rest of the page.
                root.set("style", _MATPLOTLIB_STYLE[2:-1])


def _refuse_foreign(root: ET.Element, name: str) -> None:
    for element in root.iter():
        tag = _local(element)
        if tag in _FORBIDDEN:
            raise InputError(f"figure {name}: the SVG has a <{tag}>, which a report must not have.")
        styles = [value for key, value in element.attrib.items() if "href" not in key]
        if tag == "style":
            styles.append(element.text or "")
        if any(re.search(r"@import|url\(\s*['\"]?(?!#)", text) for text in styles):
            raise InputError(f"figure {name}: the SVG's <{tag}> loads something from elsewhere.")
        for key, value in element.attrib.items():
            if key.lower().startswith("on"):
                raise InputError(f"figure {name}: the SVG's <{tag}> runs a script ({key}).")
            if key.endswith("href") and not re.match(r"\s*(#|data:image/)", value):
                raise InputError(f"figure {name}: the SVG's <{tag}> refers to {value!r}.")


def _prefix_ids(root: ET.Element, name: str) -> None:
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key.endswith("href") and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))


def _set_typeface(root: ET.Element) -> None:
    for element in root.iter(f"{{{_SVG}}}text"):
        style = element.get("style", "")
        element.set("style", re.sub(r"'DejaVu Sans'[^;]*", _TYPEFACE, style))


def _follow_theme(style: str) -> str:
    for colour, variable in CSS_VARIABLES.items():
        style = style.replace(colour, f"var({variable}, {colour})")
    return style


def _ensure_view_box(root: ET.Element) -> None:
    width, height = root.attrib.pop("width", ""), root.attrib.pop("height", "")
    if "viewBox" not in root.attrib:
        numbers = [re.match(r"[\d.]+", length) for length in (width, height)]
        if numbers[0] and numbers[1]:
            root.set("viewBox", f"0 0 {numbers[0].group()} {numbers[1].group()}")


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
