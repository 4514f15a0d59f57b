"""Sets up the engine in a private environment, from an index or from a bundle, and removes it again."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .bundle import Bundle, open_bundle
from .engine import PRIVATE_FOLDER, Engine, environment_of, python_in
from .index_address import without_password
from .runner import BrokenEngine, EngineError, Listener, clean_environment, missing_model
from .setup_failure import DISK_IS_FULL, explain_pip
from .setup_folder import locked, not_writable, recover, refuse_foreign, remove_tree, replacing, unpacking
from .setup_marker import Marker, write_marker
from .setup_pip import PYPI, fetch_pip
from .setup_process import Outcome, module_command, run_program
from .setup_python import Interpreter, choose_interpreter, find_interpreters, interpreter_at, this_platform
from .texts import marked

NEEDED = 1_500_000_000
"""Bytes of disk that an installation takes while it is made, packages and unpacked files together."""

PACKAGES = 32
"""Packages that geofootprint brings, itself included; the bar counts up to it, so it need not be exact."""

PIP_OPTION_PYTHON = (22, 3)
"""First pip that installs into another environment (`--python`)."""

LOOKING, MAKING, COLLECTING, INSTALLING, TRYING = STAGES = (
    marked("Looking for Python"),
    marked("Making the environment"),
    marked("Collecting packages"),
    marked("Installing packages"),
    marked("Starting the engine"),
)
"""Names of the stages, in their order."""


@dataclass(frozen=True)
class Source:
    """Where the packages come from.

    Parameters
    ----------
    index : str
        Address of a package index, or nothing for the one that pip is set to, which is PyPI if it is set to none.
    proxy : str
        Address of a proxy, or nothing for the one that the system names.
    bundle : Path, optional
        A bundle file, in place of an index.
    """

    index: str = ""
    proxy: str = ""
    bundle: Path | None = None

    @property
    def kind(self) -> str:
        """What it is, in a word."""
        return marked("bundle") if self.bundle else marked("index") if self.index else "PyPI"

    @property
    def label(self) -> str:
        """How it is called in messages: without a password."""
        if self.bundle:
            return self.bundle.name
        return without_password(self.index) or "PyPI"


@dataclass(frozen=True)
class Plan:
    """All that is decided before anything is written.

    Parameters
    ----------
    folder : Path
        Where the environment comes to be.
    version : str
        Of geofootprint.
    source : Source
        Where the packages come from.
    interpreter : Interpreter
        Python that the environment is made with.
    """

    folder: Path
    version: str
    source: Source
    interpreter: Interpreter


def default_folder() -> Path:
    """Return where the engine is looked for when nothing is set."""
    return Path.home() / PRIVATE_FOLDER


def managed_folder(setting: str) -> Path:
    """Return the folder that is repaired, updated or removed: what the setting names if it is ours, or the private one.

    Parameters
    ----------
    setting : str
        As of `engine.find_engine`: an interpreter, or the folder of an environment.
    """
    named = environment_of(Path(setting.strip()).expanduser()) if setting.strip() else None
    return named or default_folder()


def set_up(
    version: str,
    source: Source,
    listener: Listener,
    *,
    folder: Path | None = None,
    python: str = "",
) -> dict[str, Any]:
    """Make the environment, install geofootprint in it, and start it once.

    An environment that this plugin made before is replaced: that is how an engine is repaired or updated too. Until
    the new one has answered, the old one is kept, and it comes back if anything fails or the user cancels.

    Parameters
    ----------
    version : str
        Of geofootprint.
    source : Source
        Where the packages come from.
    listener : Listener
        Hears stages and the programs' lines, and may cancel.
    folder : Path, optional
        Of the environment; by default `default_folder`.
    python : str
        Interpreter to make it with; by default the best one that is found.

    Returns
    -------
    dict
        What the engine tells of itself.

    Raises
    ------
    EngineCancelled
        If the listener asked to stop.
    EngineError
        If something cannot be had or done: a sentence that says what to do.
    """
    folder = Path(os.path.abspath(folder or default_folder()))
    refuse_foreign(folder)
    bundle = open_bundle(source.bundle) if source.bundle else None
    if bundle is not None:
        bundle.refuse_version(version)
    listener.progress(LOOKING, 0, 1)
    interpreter = _interpreter_for(python, bundle, listener)
    listener.line(f"{LOOKING}: {interpreter.label}")
    plan = Plan(folder, version, source, interpreter)
    with locked(folder), _as_sentences(folder):
        recover(folder)
        _refuse_full_disk(folder)
        with bundle.unpacked(unpacking(folder), listener) if bundle else nullcontext() as wheels, replacing(folder):
            return _make(plan, wheels, listener)


def remove(folder: Path | None = None) -> None:
    """Remove the environment, if this plugin made it.

    Raises
    ------
    EngineError
        If it did not, or a file is in use.
    """
    folder = Path(os.path.abspath(folder or default_folder()))
    if not folder.parent.is_dir():
        return
    with locked(folder):
        recover(folder)
        refuse_foreign(folder)
        remove_tree(folder)


def _interpreter_for(python: str, bundle: Bundle | None, listener: Listener) -> Interpreter:
    chosen = interpreter_at(python) if python else None
    if bundle is None:
        return chosen or choose_interpreter(find_interpreters(listener=listener))
    bundle.refuse_platform(this_platform())
    return choose_interpreter([chosen] if chosen else find_interpreters(listener=listener), bundle.series)


@contextmanager
def _as_sentences(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _disk_is_full(folder) from error
        raise not_writable(folder, error) from error


def _refuse_full_disk(folder: Path) -> None:
    if shutil.disk_usage(folder.parent).free < NEEDED:
        raise _disk_is_full(folder)


def _disk_is_full(folder: Path) -> EngineError:
    return EngineError(DISK_IS_FULL, folder=folder, needed=_needed())


def _needed() -> str:
    return f"{NEEDED / 1e9:.1f} GB"


def _make(plan: Plan, wheels: Path | None, listener: Listener) -> dict[str, Any]:
    """Make the environment in a folder that is not there yet."""
    marker = Marker(
        ready=False,
        version=plan.version,
        python=plan.interpreter.path,
        python_version=".".join(map(str, plan.interpreter.version)),
        source=plan.source.kind,
    )
    _begin(plan.folder, marker)
    listener.progress(MAKING, 0, 1)
    pip = _make_environment(plan, wheels, listener)
    _install(plan, pip, wheels, listener)
    listener.progress(TRYING, 0, 1)
    answer = _try(plan, listener)
    write_marker(plan.folder, replace(marker, ready=True))
    listener.progress(TRYING, 1, 1)
    return answer


def _try(plan: Plan, listener: Listener) -> dict[str, Any]:
    try:
        answer = Engine(str(python_in(plan.folder)), str(plan.folder)).ask(listener)
        if not answer.get("model"):
            raise missing_model(str(python_in(plan.folder)))
    except BrokenEngine as error:
        raise error.advised(
            EngineError("Press the button again, or choose another Python under Advanced.")
        ) from None
    return answer


def _begin(folder: Path, marker: Marker) -> None:
    """Make the folder together with its marker: without it the folder would count as somebody else's."""
    folder.mkdir(exist_ok=True)
    try:
        write_marker(folder, marker)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)  # it was empty or not there, see refuse_foreign
        raise


def _make_environment(plan: Plan, wheels: Path | None, listener: Listener) -> list[str]:
    """Make the empty environment and return the beginning of the command that runs a pip for it."""
    interpreter, folder = plan.interpreter, plan.folder
    own = str(python_in(folder))
    if not interpreter.has_venv:
        _run_maker(plan, listener, "virtualenv", str(folder))
        return module_command(own, "pip")
    if wheels is None and interpreter.has_ensurepip:
        _run_maker(plan, listener, "venv", str(folder))
        return module_command(own, "pip")
    # Debian's Python has no ensurepip unless python3-venv is installed: pip comes from elsewhere then.
    _run_maker(plan, listener, "venv", "--without-pip", str(folder))
    if wheels is None and interpreter.pip >= PIP_OPTION_PYTHON:
        return module_command(interpreter.path, "pip", "--python", own)
    return module_command(own, "pip", search_path=str(_pip_wheel(plan, wheels, listener)))


def _run_maker(plan: Plan, listener: Listener, module: str, *arguments: str) -> None:
    outcome = run_program(module_command(plan.interpreter.path, module, *arguments), listener)
    if outcome.code != 0 or not python_in(plan.folder).is_file():
        raise EngineError(
            "{python} could not make an environment ({words}); choose another Python, or on Debian or Ubuntu run: "
            "sudo apt install python3-venv, then try again.",
            python=plan.interpreter.label,
            words=outcome.last_words,
        )


def _pip_wheel(plan: Plan, wheels: Path | None, listener: Listener) -> Path:
    if wheels is None:
        index = plan.source.index or os.environ.get("PIP_INDEX_URL", PYPI)
        return fetch_pip(index, plan.source.proxy, plan.folder, listener)
    found = sorted(wheels.glob("pip-*.whl"))
    if not found:
        raise EngineError("{path} holds no pip; make the bundle anew.", path=plan.source.label)
    return found[-1]


def _install(plan: Plan, pip: list[str], wheels: Path | None, listener: Listener) -> None:
    listener.progress(COLLECTING, 0, PACKAGES)
    counting = _Counting(listener, plan.folder)
    command = [*pip, *_pip_arguments(plan, wheels)]
    outcome = run_program(command, counting, environ=_pip_environment(command[0], plan.source))
    if outcome.code != 0:
        raise _explain(plan, outcome)


def _pip_arguments(plan: Plan, wheels: Path | None) -> list[str]:
    common = ["install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    # A wheel or nothing: a map maker has no compiler.
    common += ["--only-binary", ":all:", "--no-warn-script-location"]
    # Compiling all modules takes longer than the installation; Python compiles those that are used.
    common += ["--no-compile"]
    wanted = [f"geofootprint=={plan.version}"]
    if wheels is not None:
        return [*common, "--no-index", "--no-cache-dir", "--find-links", str(wheels), *wanted, "pip"]
    return [*common, "--retries", "2", "--timeout", "15", *wanted]


def _pip_environment(python: str, source: Source) -> dict[str, str]:
    """Return the environment for pip: the user's own configuration counts, except what leads out of ours.

    Index and proxy stand here and not among the arguments, which every user of the computer can read: they may hold
    passwords.
    """
    kept = clean_environment(python)
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_REQUIRE_VIRTUALENV"):
        kept.pop(name, None)
    kept["PIP_USER"] = "0"
    if source.bundle is None:
        chosen = {"PIP_INDEX_URL": source.index, "PIP_PROXY": source.proxy}
        return {**kept, **{name: address for name, address in chosen.items() if address}}
    # Nothing but the bundle: a find-links or an index of the user's would be asked as well.
    own = {name: value for name, value in kept.items() if not name.startswith("PIP_")}
    return {**own, "PIP_CONFIG_FILE": os.devnull}


def _explain(plan: Plan, outcome: Outcome) -> EngineError:
    return explain_pip(
        [*outcome.output, *outcome.errors],
        folder=plan.folder,
        index=plan.source.label if plan.source.bundle or plan.source.index else "",
        version=plan.version,
        series=plan.interpreter.series,
        needed=_needed(),
    )


class _Counting(Listener):
    """Counts packages while pip works: those it collects by its lines, those it installs by their folders."""

    def __init__(self, listener: Listener, folder: Path) -> None:
        self._listener = listener
        self._folder = folder
        self._collected = 0
        self._before = 0
        self._to_install = 0

    def line(self, text: str) -> None:
        self._listener.line(text)
        if text.startswith("Collecting "):
            self._collected += 1
            self._listener.progress(COLLECTING, min(self._collected, PACKAGES), PACKAGES)
        elif text.startswith("Installing collected packages:"):
            self._to_install = text.count(",") + 1
            self._before = self._count()

    def tick(self) -> None:
        self._listener.tick()
        if self._to_install:
            done = min(self._count() - self._before, self._to_install)
            self._listener.progress(INSTALLING, max(done, 0), self._to_install)

    def is_cancelled(self) -> bool:
        return self._listener.is_cancelled()

    def _count(self) -> int:
        patterns = ("lib/python3*/site-packages/*.dist-info", "Lib/site-packages/*.dist-info")
        return sum(1 for pattern in patterns for _ in self._folder.glob(pattern))
