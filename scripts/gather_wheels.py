"""Gather the wheels that a check on a machine without a network needs.

    python scripts/gather_wheels.py wheels --python 3.12 --cuda 130
    python scripts/gpu_check.py --wheels wheels               # on the other machine

They are small enough to be carried along: of bitsandbytes the library for one version of CUDA is
kept. Packages that a machine has already are not installed from them.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGES = (
    "pydantic>=2.12",
    "pydantic-core",
    "annotated-types",
    "typing-inspection",
    "typing-extensions",
    "rfc8785",
    "bitsandbytes",
    "torchao",
)
"""What the steps import beside torch, transformers, accelerate, peft and scikit-learn."""
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_24_x86_64", "manylinux2014_x86_64", "any")
_MOST_BYTES = 64 << 20


def gather(folder: Path, python: str, cuda: str) -> int:
    """Download the wheels, and return their bytes.

    Args:
        folder: Where they are put.
        python: Version of Python of the machine, such as ``3.12``.
        cuda: Version of CUDA of its torch, such as ``130``.

    Raises:
        SystemExit: pip finds no wheels, or they are larger than what can be carried.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", name]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "--no-deps"]
        command += ["--python-version", python, "--implementation", "cp"]
        command += [part for platform in _PLATFORMS for part in ("--platform", platform)]
        given = _with_matching_core(name, command)
        if subprocess.run([*command, *given], check=False).returncode:
            raise SystemExit("error: pip found no wheels; is there a network?")
        for wheel in sorted(Path(name).glob("*.whl")):
            slimmed(wheel, folder / wheel.name, cuda)
    size = sum(file.stat().st_size for file in folder.glob("*.whl"))
    if size > _MOST_BYTES:
        raise SystemExit(f"error: the wheels in {folder} take {size:,} bytes; empty it first.")
    return size


def _with_matching_core(folder: str, command: list[str]) -> list[str]:
    """Return the packages, with the one version of pydantic-core that pydantic takes.

    Raises:
        SystemExit: pip does not find pydantic.
    """
    pydantic, _, *others = PACKAGES
    if subprocess.run([*command, pydantic], check=False).returncode:
        raise SystemExit("error: pip found no pydantic; is there a network?")
    (wheel,) = Path(folder).glob("pydantic-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    exact = re.search(r"^Requires-Dist: (pydantic-core==\S+)", text, re.MULTILINE)
    return [exact.group(1) if exact else "pydantic-core", *others]


def slimmed(wheel: Path, target: Path, cuda: str) -> None:
    """Copy a wheel without libraries for other accelerators.

    Args:
        wheel: The wheel.
        target: Its copy.
        cuda: Version of CUDA whose libraries are kept.
    """
    other = re.compile(rf"/libbitsandbytes_(?!cpu|cuda{cuda}\b)\w+\.so$")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as own:
        for entry in whole.infolist():
            if other.search(entry.filename):
                continue
            content = whole.read(entry)
            if entry.filename.endswith(".dist-info/RECORD"):
                lines = content.decode().splitlines(keepends=True)
                content = "".join(
                    line for line in lines if not other.search(line.split(",")[0])
                ).encode()
            own.writestr(entry, content)


def main() -> None:
    """Gather the wheels that the options ask for."""
    parser = argparse.ArgumentParser(description="Gather wheels for scripts/gpu_check.py.")
    parser.add_argument("folder", type=Path, help="where they are put")
    parser.add_argument("--python", default="3.12", help="Python of the machine")
    parser.add_argument("--cuda", default="130", help="CUDA of the machine's torch")
    options = parser.parse_args()
    size = gather(options.folder, options.python, options.cuda)
    print(f"{options.folder}: {size / 1e6:.1f} MB; at most {_MOST_BYTES / 1e6:.0f}")


if __name__ == "__main__":
    main()
