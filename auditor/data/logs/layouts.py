"""Layouts of logs by name."""

from collections.abc import Mapping
from types import MappingProxyType

from auditor.data.logs.lm_eval import LmEvalLayout
from auditor.data.logs.log import Layout
from auditor.data.logs.muse import MuseLayout
from auditor.data.logs.open_unlearning import OpenUnlearningLayout
from auditor.data.logs.rwku import RwkuLayout
from auditor.data.logs.tofu import TofuLayout

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "tofu": TofuLayout(),
        "open-unlearning": OpenUnlearningLayout(),
        "muse": MuseLayout(),
        "rwku": RwkuLayout(),
        "lm-eval": LmEvalLayout(),
    }
)
