"""Keeps the libraries' banners and bars away from ours."""

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Silence the banners and progress bars of libraries.

    It is called before they are imported.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    for name in ("torch.utils._pytree", "torch.utils.cpp_extension", "bitsandbytes", "optimum"):
        logging.getLogger(name).setLevel(logging.ERROR)
