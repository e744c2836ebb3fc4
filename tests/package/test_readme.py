"""The README and the script that runs its two commands stay in step."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.exhaustive
def test_the_examples_run_and_predict_well():
    examples = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile("\n".join(examples), "README.md", "exec"), names)
    labels, proba = names["y_test"], names["proba"]
    assert proba.shape == (len(labels), 2)
    for predicted in (proba.argmax(axis=1), names["submission"] > 0.5):
        assert (predicted == labels).mean() > 0.9


def test_links_inside_the_repository_resolve():
    links = [
        (page.parent, target)
        for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
        if "://" not in target
    ]
    assert links
    assert [target for folder, target in links if not (folder / target).exists()] == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    "readme",
    [
        README.replace("```sh\npython -m pip install -c tests", "```\npython", 1),
        README + "\n```sh\necho one more\n```\n",
        README.replace("cfe-stack demo", "cfe-stack --version"),
        README.replace("python -m pytest", "true"),
    ],
    ids=["one command", "three commands", "no demo", "no tests"],
)
def test_ci_refuses_a_readme_without_its_two_commands(tmp_path, readme):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "README.md").write_text(readme, "utf-8")
    run = subprocess.run(
        ["bash", ".ci/run"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert "README.md must hold exactly two" in run.stderr
    assert "install" not in run.stdout
