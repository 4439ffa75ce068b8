"""Keeps the libraries' banners and bars away from ours."""

import logging
import os
import warnings

_LOGGERS = ("torch.utils._pytree", "torch.utils.cpp_extension", "bitsandbytes", "optimum")
"""Loggers that tell of parts of their libraries which audits do not use."""


def quiet_loggers() -> None:
    """Silence what libraries say of parts that audits do not use.

    A logger that has a level keeps it.
    """
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.ERROR)


def quiet_libraries() -> None:
    """Silence the banners and progress bars of libraries.

    It is called before they are imported.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    quiet_loggers()
