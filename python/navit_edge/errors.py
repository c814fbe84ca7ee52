"""The error hierarchy. Every message says what was found, what was expected and what to do."""

from __future__ import annotations

import concurrent.futures
import importlib
from types import ModuleType


class NavitEdgeError(Exception):
    """Base of every error that navit-edge raises on purpose."""


class InvalidInputError(NavitEdgeError, ValueError):
    """An image, an option or an argument that cannot be used as it is."""


class OverBudgetError(NavitEdgeError, ValueError):
    """An image needs more tokens than the largest budget of the engine."""


class BundleError(NavitEdgeError):
    """A bundle that is missing, damaged, altered, or of another schema version."""


class BackendError(NavitEdgeError):
    """A backend that cannot be loaded, cannot build, or failed while it ran."""


class TimedOutError(NavitEdgeError, concurrent.futures.TimeoutError):
    """A wait took longer than its ``timeout``: for a place in the queue, or for images to be done."""


class CancelledError(NavitEdgeError, concurrent.futures.CancelledError):
    """The work was cancelled before it was done."""


class MissingPackageError(NavitEdgeError, ImportError):
    """An optional package is not installed. ``package`` is what was looked for, ``remedy`` how to get it."""

    def __init__(self, purpose: str, package: str, remedy: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}, which is not installed: {remedy}")
        self.package = package
        self.remedy = remedy


def reason_here(engine_id: str, error: object) -> str:
    """Why an engine cannot run here: the first line of a session's error, without what names the engine."""
    first = str(error).partition("\n")[0]
    return first.removeprefix(f"engine {engine_id} cannot run here: ").removeprefix(f"{engine_id}: ")


def import_or_explain(module: str, *, purpose: str, remedy: str) -> ModuleType:
    """Imports ``module`` on demand.

    module: Name to import, such as ``"openvino"``.
    purpose: What needs it, as the subject of a sentence: ``"building an OpenVINO engine"``.
    remedy: The command that installs it: ``'pip install "navit-edge[openvino]"'``.

    Raises MissingPackageError: The package is not installed. A package that is installed and fails to import because of
        something that *it* misses is reported with that cause.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] == top:
            raise MissingPackageError(purpose, top, remedy) from error
        raise MissingPackageError(
            purpose, error.name or top, f"{top} is installed but needs it ({error}); reinstall: {remedy}"
        ) from error
    except ImportError as error:
        top = module.partition(".")[0]
        raise BackendError(
            f"{purpose} needs the package {top!r}, which is installed but does not load ({error}); reinstall: {remedy}"
        ) from error
