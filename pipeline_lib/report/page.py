"""The report page: one HTML file that holds all it shows."""

from __future__ import annotations

from pathlib import Path

import yaml

from pipeline_lib.artefacts import write_text
from pipeline_lib.report.contents import ReportContents, read_choice, read_if_present, read_results
from pipeline_lib.report.costs import NOT_RECORDED, costs_section, machines
from pipeline_lib.report.gallery import sections_section
from pipeline_lib.report.headline import headline_text
from pipeline_lib.report.html import Html, details, document, element, facts, section
from pipeline_lib.report.learning import flattened, training_section
from pipeline_lib.report.overview import render_overview
from pipeline_lib.report.scores import headline_section, run_lengths_section, volumes_section
from pipeline_lib.report.style import STYLE
from pipeline_lib.report.threshold import threshold_section
from pipeline_lib.report.worst_places import errors_section

_SECTIONS = (
    ("result", "Result"),
    ("volumes", "All volumes"),
    ("sections", "Sections"),
    ("run-lengths", "Run lengths"),
    ("errors", "Worst errors"),
    ("threshold", "Threshold"),
    ("training", "Training"),
    ("costs", "Time and memory"),
    ("settings", "Settings"),
    ("software", "Software and hardware"),
    ("files", "Files"),
)


def write_report(contents: ReportContents, output: Path) -> None:
    """Write `headline.txt`, `overview.png` and then `output`, a page that needs no other file and no network.

    An artefact that is missing or cannot be read is a UserError that names it; what training or the cost of a stage left no
    record of is shown as not recorded.
    """
    page = render_page(contents)
    write_text(output.with_name("headline.txt"), headline_text(contents))
    if read_results(contents):
        render_overview(contents, output.with_name("overview.png"))
    write_text(output, page)


def render_page(contents: ReportContents) -> str:
    results, choice = read_results(contents), read_choice(contents)
    title = f"{contents.project}: segmentation report"
    links = (element("a", name, href=f"#{anchor}") for anchor, name in _SECTIONS)
    body = element(
        "main",
        element("h1", contents.project),
        element(
            "p", "Neurons segmented from electron microscopy volumes: scores, pictures, and how they came about.", class_="lead"
        ),
        element("nav", *links),
        headline_section(results, choice),
        volumes_section(results),
        sections_section(results),
        run_lengths_section(results),
        errors_section(results),
        threshold_section(contents, choice),
        training_section(contents),
        costs_section(contents),
        _settings_section(contents),
        _software_section(contents),
        _files_section(contents),
    )
    return document(title, body, style=STYLE)


def _settings_section(contents: ReportContents) -> Html:
    text = yaml.safe_dump(contents.settings, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    shown = details("All settings that decide results, defaults included (YAML)", element("pre", text))
    return section("settings", "Settings", shown)


def _software_section(contents: ReportContents) -> Html:
    plan = read_if_present(contents.model / "plan.json") or {}
    groups = [element("div", element("h3", "Machines of all stages"), machines(contents))]
    for key, title in (("hardware", "Hardware that training saw"), ("versions", "Versions that training saw")):
        told = plan.get(key)
        shown = facts(flattened(told)) if isinstance(told, dict) else element("p", str(told or NOT_RECORDED))
        groups.append(element("div", element("h3", title), shown))
    return section("software", "Software and hardware", element("div", *groups, class_="columns"))


def _files_section(contents: ReportContents) -> Html:
    folders: list[tuple[str, Path | None]] = [(f"volume {part.name}", part.folder) for part in contents.volumes]
    folders += [
        ("model", contents.model),
        ("predictions", contents.prediction),
        ("threshold sweep", contents.sweep),
        ("segmentations", contents.segmentation),
        ("evaluations", contents.evaluation),
    ]
    rows = [(name, element("code", str(folder)) if folder is not None else "none") for name, folder in folders]
    return section("files", "Files", facts(rows))
