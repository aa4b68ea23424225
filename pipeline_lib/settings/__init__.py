"""Typed settings: one model owns names, types, ranges, units and all defaults. Imports no torch and no storage."""

from pipeline_lib.settings.expansion import Experiment, Variant, load_experiment, parse_experiment
from pipeline_lib.settings.load import parse_project
from pipeline_lib.settings.project import Project

__all__ = ["Experiment", "Project", "Variant", "load_experiment", "parse_experiment", "parse_project"]
