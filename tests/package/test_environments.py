"""What is said about versions and extras is what the environments of CI are made of."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SCRIPT = (ROOT / ".ci" / "environments").read_text("utf-8")
# linters do not run there, and mlxtend needs a newer scikit-learn than the oldest
NOT_TRIED = {"mlxtend", "ruff", "mypy"}


def lower_bounds():
    """Return the smallest version of every package that the tests or users need."""
    extras = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + [r for e, some in extras.items() if e != "docs" for r in some]
    bounds = {}
    for requirement in map(Requirement, lines):
        if requirement.name == "cfe-stack":
            continue
        (bound,) = requirement.specifier
        assert bound.operator == ">=", requirement
        version = Version(bound.version)
        assert bounds.setdefault(requirement.name, version) == version, "two bounds"
    return bounds


def pins(name):
    """Return the versions in a file of pins, section by section."""
    sections = (ROOT / "tests" / name).read_text("utf-8").split("\n\n")
    return [
        {package: Version(v) for package, v in re.findall(r"^([\w.-]+)==(\S+)$", text, re.M)}
        for text in sections
    ]


def test_the_oldest_versions_are_the_lower_bounds():
    bounds = lower_bounds()
    tried = {name: version for name, version in bounds.items() if name not in NOT_TRIED}
    assert pins("oldest.txt")[0] == tried
    assert bounds.keys() >= NOT_TRIED


def test_the_pinned_versions_are_no_older():
    pinned = {
        name: version for section in pins("constraints.txt") for name, version in section.items()
    }
    known = lower_bounds().keys() & pinned.keys()
    assert len(known) > 15
    assert [name for name in known if pinned[name] < lower_bounds()[name]] == []


def test_every_python_and_extra_has_an_environment():
    said = set(re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"])))
    assert said <= set(re.findall(r"python(3\.\d+)", SCRIPT))
    assert PROJECT["requires-python"] == f">={min(said, key=Version)}"
    (listed,) = re.findall(r"^extras=\((.*)\)$", SCRIPT, re.M)
    # of the others one is a sum of these, and three are for working on the package
    assert set(listed.split()) == set(PROJECT["optional-dependencies"]) - {
        "all", "bench", "comparison", "docs", "test",
    }  # fmt: skip


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("arguments", [[], ["python2.7"], ["without-numpy", "tests"]])
def test_an_unknown_environment_is_refused(arguments):
    command = ["bash", ".ci/environments", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "NAME one of: oldest newest" in done.stderr
    assert done.stdout == ""
