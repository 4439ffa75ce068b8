"""Engines for tests: the protocol's own program over transformers, and models opened with it."""

import json
import sys
from pathlib import Path

import text_worker

from auditor.models import text_engine
from auditor.models.causal_lm.served import ServedCausalLM
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.opening import locate
from auditor.models.spec import PromptFormat
from auditor.models.text_engine import AskedEngine, TextEngine

ASKED = AskedEngine(
    settings=TextEngine(python=sys.executable, memory=0.1), versions=text_worker.VERSIONS, code="c"
)


def use_worker(monkeypatch, **settings):
    """Have engines be the tests' own program, which goes wrong as the settings say."""
    text_engine._versions.cache_clear()
    monkeypatch.setitem(text_engine.WORKERS, "vllm", Path(text_worker.__file__))
    monkeypatch.setenv("TEXT_WORKER", json.dumps({k: str(v) if isinstance(v, Path) else v
                                                  for k, v in settings.items()}))  # fmt: skip


def worker_program(folder):
    """Write an interpreter that runs the tests' own program, whatever it is asked to run.

    Processes that are started afresh know nothing of `use_worker`.
    """
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nshift\nexec "{sys.executable}" "{text_worker.__file__}" "$@"\n')
    program.chmod(0o755)
    return program


def open_served(directory, asked=ASKED, **spec):
    """Open a model and hand it to an engine."""
    found = CausalLMSpec(path=str(directory), **spec)
    return ServedCausalLM.open_served(
        found, locate(found), PromptFormat(), 8192, lambda n: None, asked
    )
