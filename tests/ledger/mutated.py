"""``python -m tests.ledger.mutated NAME MODULE [ARGUMENT]...``: run a module with one bug planted in it."""

from __future__ import annotations

import runpy
import sys

from tests.ledger.mutants import MUTANTS

if __name__ == "__main__":
    name, module, *arguments = sys.argv[1:]
    MUTANTS[name].plant()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
