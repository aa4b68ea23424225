"""The stage that shows a run: one self-contained page, a few lines for the terminal, one picture for a README.

Over the runs of a sweep: one page that compares them, and their scores as a table."""

from pipeline_lib.report.compared import ComparedRun, write_comparison
from pipeline_lib.report.contents import ReportContents
from pipeline_lib.report.headline import headline_text
from pipeline_lib.report.overview import render_overview
from pipeline_lib.report.page import write_report

__all__ = ["ComparedRun", "ReportContents", "headline_text", "render_overview", "write_comparison", "write_report"]
