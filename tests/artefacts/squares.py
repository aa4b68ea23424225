"""A task whose block k is a file with k squared, for tests; in a module of its own so that workers can import it."""

import os
import signal
import time
from pathlib import Path

from pipeline_lib.artefacts import Crew, Finished, compute_blocks, read_json, write_json, write_text
from pipeline_lib.errors import UserError


class Squares:
    """`inputs`, `layout` and `crew` may be changed by a test; `slow_s` is the time that a block takes."""

    def __init__(self, folder, n_blocks=7, *, crew=Crew(1, 1), slow_s=0.0, dies_in=None, fails_in=None, interrupted_in=None):  # noqa: B008
        self.name = "squares"
        self.folder = Path(folder)
        self.last_file = self.folder / "complete.json"
        self.created = (self.folder / "squares",)
        self.n_blocks = n_blocks
        self.inputs = {"the code": "1", "the numbers": "whole"}
        self.layout = {"block": [1, 1]}
        self.crew = crew
        self.slow_s = slow_s
        self.dies_in = dies_in
        self.fails_in = fails_in
        self.interrupted_in = interrupted_in
        self.computed = []
        self.prepared = 0

    def prepare(self, run):
        self.prepared += 1
        return self.crew

    def create(self):
        (self.folder / "squares").mkdir(parents=True, exist_ok=True)

    def compute(self, blocks, crew):
        self.computed += blocks
        yield from compute_blocks(self.square, blocks, crew, name=self.name)

    def path(self, block):
        return self.folder / "squares" / f"{block}.txt"

    def square(self, block):
        time.sleep(self.slow_s)
        if block == self.dies_in:
            os.kill(os.getpid(), signal.SIGKILL)
        if block == self.fails_in:
            raise UserError(f"block {block} cannot be squared")
        if block == self.interrupted_in:
            raise KeyboardInterrupt
        if block == 3:  # as a shard that is 0 everywhere, without a file
            self.path(block).unlink(missing_ok=True)
        else:
            write_text(self.path(block), str(block**2))
        return [self.path(block)]

    def finish(self, budget):
        total = sum(int(self.path(k).read_text()) for k in range(self.n_blocks) if k != 3)
        write_json(self.folder / "sum.json", total)
        return Finished([self.folder / "sum.json"], {"sum": total})

    def complete(self):
        return read_json(self.last_file)
