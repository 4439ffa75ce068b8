"""Settings of the attacks for models of 16 x 16 pixels; their own defaults are the published ones.

Each replaces, in the plan of an audit of the world `shapes`, the level of the same name; the
certificate says so.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

SETTINGS: Mapping[str, tuple[Mapping[str, Any], ...]] = MappingProxyType({})
"""Attack to the parameters of each of its levels."""
