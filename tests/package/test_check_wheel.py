import tarfile
import zipfile

import pytest
from check_wheel import complaints

WHEEL = {
    "cfe_stack/__init__.py": b"",
    "cfe_stack-0.1.0.dist-info/METADATA": b"",
    "cfe_stack-0.1.0.dist-info/licenses/LICENSE": b"BSD",
}
SOURCES = (
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "cfe_stack/__init__.py",
    "tests/runtime/golden/models.pickle",
)


@pytest.mark.parametrize(
    ("more", "fewer", "complaint"),
    [
        ({}, None, None),
        ({"cfe_stack/large.npz": bytes(100_001)}, None, "large.npz has 100001 bytes"),
        ({"tests/x.py": b""}, None, "tests/x.py is no part of the package"),
        ({"cfe_stack/tests/x.py": b""}, None, "is a test"),
        ({}, "cfe_stack-0.1.0.dist-info/licenses/LICENSE", "holds no LICENSE"),
        ({}, "README.md", "lacks README.md"),
    ],
)
def test_what_is_shipped_is_looked_at(tmp_path, more, fewer, complaint):
    wheel, sdist = tmp_path / "x.whl", tmp_path / "x.tar.gz"
    with zipfile.ZipFile(wheel, "w") as file:
        for name, content in (WHEEL | more).items():
            if name != fewer:
                file.writestr(name, content)
    with tarfile.open(sdist, "w:gz") as file:
        for name in SOURCES:
            if name != fewer:
                file.addfile(tarfile.TarInfo(f"cfe_stack-0.1.0/{name}"))
    found = complaints(wheel, sdist)
    assert (complaint is None and not found) or complaint in found[0]
