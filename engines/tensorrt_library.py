"""TensorRT and TensorRT for RTX: two libraries with one interface, found by name, never mistaken for each other."""

import importlib
import logging
from dataclasses import dataclass
from typing import Any

from engines.engine import EngineError

# Engine name -> Python module, extra of this package.
LIBRARIES = {"tensorrt": ("tensorrt", "tensorrt"), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt-rtx")}
_KEPT_ERRORS = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Library:
    """An imported library.

    Attributes:
        name: a key of LIBRARIES.
        module: its Python module.
        version: exact, as plans depend on it.
    """

    name: str
    module: Any
    version: str

    @property
    def portable(self) -> bool:
        """Whether plans are built without a GPU, for every GPU that the library knows."""
        return self.name == "tensorrt-rtx"


def load_library(name: str) -> Library:
    """Import one of LIBRARIES.

    Raises:
        EngineError: an unknown name, or a library that is not installed or cannot be loaded.
    """
    if name not in LIBRARIES:
        raise EngineError(f"unknown TensorRT library {name!r}; known: {', '.join(LIBRARIES)}")
    module_name, extra = LIBRARIES[name]
    advice = f"run `pip install 'posefix_track[{extra}]'` or choose another engine"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise EngineError(f"the {name} engine needs the package {error.name}; {advice}") from error
    except Exception as error:  # its loader raises whatever it likes when a shared library is missing
        raise EngineError(f"the {name} library cannot be loaded ({error}); {advice}") from error
    if not hasattr(module, "Builder"):
        raise EngineError(f"the package {module_name} here is incomplete, it has no builder; {advice}")
    return Library(name, module, str(module.__version__))


def library_logger(library: Library) -> Any:
    """A logger that the library writes to: goes to Python's logging; ``errors`` has the last error messages."""
    trt = library.module
    levels = {trt.ILogger.VERBOSE: logging.DEBUG, trt.ILogger.INFO: logging.DEBUG, trt.ILogger.WARNING: logging.INFO}

    class Logger(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity not in levels:
                self.errors = [*self.errors[1 - _KEPT_ERRORS :], message.strip().splitlines()[0]]
            _log.log(levels.get(severity, logging.INFO), "%s: %s", library.name, message)

    return Logger()


def reason(logger: Any) -> str:
    """The library's own words for why something failed."""
    return "; ".join(logger.errors) or "it gave no reason"
