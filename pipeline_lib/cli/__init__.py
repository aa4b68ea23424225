"""The commands `python -m pipeline_lib <stage> ...` that the workflow's rules call, usable by hand."""

from pipeline_lib.cli.app import main

__all__ = ["main"]
