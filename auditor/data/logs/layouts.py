"""Layouts of logs by name."""

from collections.abc import Mapping
from types import MappingProxyType

from auditor.data.logs.log import Layout
from auditor.data.logs.tofu import TofuLayout

LAYOUTS: Mapping[str, Layout] = MappingProxyType({"tofu": TofuLayout()})
