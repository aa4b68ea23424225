"""The page that compares the runs of a sweep."""

from pipeline_lib.report.compared.page import write_comparison
from pipeline_lib.report.compared.runs import ComparedRun

__all__ = ["ComparedRun", "write_comparison"]
