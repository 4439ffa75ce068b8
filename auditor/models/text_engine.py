"""Engines that write texts in a process of their own.

An engine is trusted with nothing but token ids. What it answers is put to the network in memory
by whoever asks (`auditor.models.served`).
"""

import itertools
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from auditor.core.errors import AuditorError, MeasurementError
from auditor.core.paths import FilePath
from auditor.models import vllm_worker

INTERPRETER_VARIABLE = "UNLEARNING_AUDITOR_VLLM"
"""Environment variable that names the interpreter of an environment with vLLM."""
WORKERS: dict[str, Path] = {"vllm": Path(vllm_worker.__file__)}
"""Engine to the program that answers for it."""
_MODULES = {"vllm": vllm_worker.__name__}
"""Engine to the module of that program."""
_GB = 10**9
_BEGINNING = 1800.0
"""Most seconds in which a model is opened."""
_PATIENCE = 600.0
"""Most seconds of silence, beside those that the slowest engine would take."""
_SLOWEST = 10.0
"""Tokens a second that an engine writes at least."""
_TRIED = 300.0
"""Most seconds in which an environment says its versions."""
_AT_ONCE = 256
"""Prompts in one question."""
_SHOWN = 300
"""Most characters of what an engine said that are quoted."""
_NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables that are of this process's environment alone."""
_GPUS = "CUDA_VISIBLE_DEVICES"
"""Variable that names the GPUs which a process sees."""

_VERSIONS = TypeAdapter(dict[str, str])
_WRITTEN = TypeAdapter(list[list[int]])


class TextEngine(BaseModel):
    """Section of a plan on the engine that writes texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Literal["vllm"] = "vllm"
    """Engine that is used."""
    python: FilePath | None = None
    """Interpreter of an environment that has it, on every machine that measures; by default, what
    the environment variable ``UNLEARNING_AUDITOR_VLLM`` names there."""
    memory: float = Field(default=4.0, gt=0)
    """GB of keys and values, beside the weights, which it holds a second time."""

    def held(self, weights: int) -> int:
        """Return the bytes that it holds beside a network.

        It has a second copy of the weights.

        Args:
            weights: Bytes of them.
        """
        return weights + round(self.memory * _GB)

    @property
    def interpreter(self) -> str:
        """Interpreter of the engine's environment on this machine.

        Raises:
            AuditorError: None is named, or there is none where it is said to be.
        """
        named = self.python or os.environ.get(INTERPRETER_VARIABLE)
        if not named:
            raise AuditorError(
                f"`generation`: no environment of {self.engine} is named; give its interpreter "
                f"(`python: /path/to/venv/bin/python`, or the variable {INTERPRETER_VARIABLE})."
            )
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise AuditorError(
                f"`generation`: {named} is no program that can be run; give the interpreter of an "
                f"environment that has {self.engine} (`/path/to/venv/bin/python`)."
            )
        return named


class AskedEngine(BaseModel):
    """An engine that a job asks, as plain data."""

    model_config = ConfigDict(frozen=True)

    settings: TextEngine
    versions: dict[str, str]
    """Versions of the engine and of what it computes with."""
    code: str
    """Digest of the code that asks it and checks what it answers."""

    @property
    def identity(self) -> dict[str, Any]:
        """Part that decides a result; where the engine lies does not."""
        return {"engine": self.settings.engine, "versions": self.versions, "code": self.code}


class EngineError(MeasurementError):
    """An engine died, was silent, or said what is no answer."""


def engine_versions(settings: TextEngine, *, imported: bool = False) -> dict[str, str]:
    """Return the versions in an engine's environment.

    Args:
        settings: The engine.
        imported: Whether the engine must be importable, which takes longer.

    Raises:
        AuditorError: The environment does not have it, or it does not load.
    """
    return _versions(settings.engine, settings.interpreter, imported)


def engine_code(engine: str) -> tuple[str, str]:
    """Return the modules that ask an engine, and that answer for it."""
    return (__name__, _MODULES[engine])


@cache
def _versions(engine: str, interpreter: str, imported: bool) -> dict[str, str]:
    asked = [interpreter, str(WORKERS[engine]), "--versions", *(["--import"] if imported else [])]
    try:
        answer = subprocess.run(
            asked, capture_output=True, timeout=_TRIED, env=_environment(), check=False
        )
        said = answer.stderr.decode(errors="replace").strip().splitlines()
        if answer.returncode == 0:
            return _VERSIONS.validate_json(answer.stdout)
    except (OSError, ValidationError, subprocess.TimeoutExpired) as error:
        said = [" ".join(str(error).split())]
    raise AuditorError(
        f"`generation`: the environment of {interpreter} does not run {engine} "
        f"({(said or ['it said nothing'])[-1][:_SHOWN]}). Install it there (`pip install "
        f"{engine}`), or leave `generation` out."
    )


def _environment(**further: str) -> dict[str, str]:
    """Return the variables that an engine's process is given."""
    passed = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    # else modules that lie beside the program would take the place of the libraries' own
    return {**passed, "PYTHONSAFEPATH": "1", **further}


def _names(gpus: Sequence[int]) -> str:
    """Return what an environment calls some of this process's GPUs."""
    named = os.environ.get(_GPUS)
    return ",".join(named.split(",")[gpu] if named else str(gpu) for gpu in gpus)


class TextServer:
    """A model that an engine has opened in its own process.

    Args:
        asked: The engine.
        order: What is opened, and how, as the engine's program takes it.
        threads: Threads that it computes with on processors.
        gpus: Numbers of this process's GPUs that it is to see; by default none.

    Raises:
        EngineError: It does not open the model.
        AuditorError: Here the engine has other versions than where the job was asked.
    """

    def __init__(
        self, asked: AskedEngine, order: Mapping[str, Any], threads: int, gpus: Sequence[int] = ()
    ) -> None:
        self._name = asked.settings.engine
        self._numbers = itertools.count()
        self._heard: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [asked.settings.interpreter, str(WORKERS[self._name])],
            stdin=subprocess.PIPE,  # kept open: the process ends when it closes
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment(OMP_NUM_THREADS=str(threads), **{_GPUS: _names(gpus)}),
            start_new_session=True,  # so that what it starts can be ended with it
        )
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            self._say({**order, "memory": asked.settings.memory * _GB})
            found = self._answer(_BEGINNING)
            versions = _checked(_VERSIONS, found.get("ready"), self._fault(found))
        except BaseException:
            self.close()
            raise
        if versions != asked.versions:
            self.close()
            raise AuditorError(
                f"this worker's {self._name} is of other versions ({versions}) than that of the "
                f"process that asked ({asked.versions}); install the same everywhere."
            )

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        most: int,
        stops: Sequence[int],
        *,
        adapter: str | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seeds: Sequence[int] = (),
    ) -> list[list[int]]:
        """Go on from prompts, each up to what ends a text.

        Args:
            prompts: Token ids of each.
            most: Tokens of an answer at most.
            stops: Tokens that end an answer; the last one of it then.
            adapter: Folder of a LoRA adapter with which the model answers.
            temperature: 0 for greedy answers.
            top_p: Share of the probability that tokens are drawn from.
            seeds: Seed of each prompt; none for greedy answers.

        Raises:
            EngineError: There are no answers, or they are none of these questions.
        """
        found: list[list[int]] = []
        for start in range(0, len(prompts), _AT_ONCE):
            part = [list(ids) for ids in prompts[start : start + _AT_ONCE]]
            number = next(self._numbers)
            self._say(
                {
                    "id": number,
                    "adapter": adapter,
                    "prompts": part,
                    "most": most,
                    "stops": list(stops),
                    "temperature": temperature,
                    "top_p": top_p,
                    "seeds": list(seeds[start : start + _AT_ONCE]),
                }
            )
            answer = self._answer(_PATIENCE + most * len(part) / _SLOWEST)
            if answer.get("id") != number:
                raise EngineError(f"{self._name} answered another question than it was asked")
            written = _checked(_WRITTEN, answer.get("written"), self._fault(answer))
            if len(written) != len(part) or not all(_ends(ids, most, stops) for ids in written):
                raise EngineError(
                    f"{self._name} wrote {len(written)} texts for {len(part)} prompts, or some "
                    "that end where nothing ends them (more `memory` holds longer texts)"
                )
            found += written
        return found

    def close(self) -> None:
        """End the process, and whatever it started."""
        if self._process.poll() is None:  # else its number may be another's by now
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with suppress(OSError):  # of what could not be written any more
                if stream is not None:
                    stream.close()

    def _listen(self) -> None:
        """Take in what is said, until the process ends."""
        with suppress(OSError, ValueError):  # closed by this side
            for line in self._process.stdout or ():
                self._heard.put(line)
        self._heard.put(None)

    def _say(self, said: Mapping[str, Any]) -> None:
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps(said).encode() + b"\n")
                self._process.stdin.flush()
        except OSError as error:
            raise EngineError(self._died()) from error

    def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._heard.get(timeout=seconds)
        except queue.Empty as error:
            self.close()
            raise EngineError(f"{self._name} was silent for {seconds:.0f} s") from error
        if line is None:
            raise EngineError(self._died())
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise EngineError(
                f"{self._name} said what is no answer: {line[:_SHOWN].decode(errors='replace')!r}"
            )
        return found

    def _fault(self, answer: Mapping[str, Any]) -> str:
        said = answer.get("fault")
        return f"{self._name}: {str(said)[:_SHOWN]}" if said else f"{self._name} gave no answer"

    def _died(self) -> str:
        self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        last = " ".join((said or ["it said nothing"])[-1].split())[:_SHOWN]
        return f"the process of {self._name} ended (exit {self._process.returncode}): {last}"


def _checked(kind: TypeAdapter[Any], found: Any, fault: str) -> Any:
    """Return a part of an answer.

    Raises:
        EngineError: It is not there, or of another form.
    """
    try:
        return kind.validate_python(found, strict=True)
    except ValidationError as error:
        raise EngineError(fault) from error


def _ends(ids: Sequence[int], most: int, stops: Sequence[int]) -> bool:
    """Whether an answer ends where it was to end, and nowhere before."""
    if not ids or min(ids) < 0 or any(token in stops for token in ids[:-1]):
        return False
    return len(ids) == most or (len(ids) < most and ids[-1] in stops)
