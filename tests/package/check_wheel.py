"""Check what is shipped: ``python tests/package/check_wheel.py WHEEL SDIST``."""

import sys
import tarfile
import zipfile

LARGEST = 100_000
"""Bytes of one file in a wheel."""


def complaints(wheel, sdist):
    """Return what is wrong with a wheel and a source distribution."""
    with zipfile.ZipFile(wheel) as opened:
        files = {info.filename: info.file_size for info in opened.infolist()}
    with tarfile.open(sdist) as opened:
        sources = {name.partition("/")[2] for name in opened.getnames()}
    found = [f"{name} has {size} bytes" for name, size in files.items() if size > LARGEST]
    found += [f"{n} is no part of the package" for n in files if not n.startswith("cfe_stack")]
    found += [f"{name} is a test" for name in files if "/tests/" in name]
    if not any(name.endswith("licenses/LICENSE") for name in files):
        found.append("the wheel holds no LICENSE")
    needed = {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "cfe_stack/__init__.py",
        "tests/runtime/golden/models.pickle",
    }
    return found + [f"the source distribution lacks {name}" for name in sorted(needed - sources)]


if __name__ == "__main__":
    sys.exit("\n".join(complaints(*sys.argv[1:])) or None)
