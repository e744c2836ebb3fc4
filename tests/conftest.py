"""Set one thread per test process, and select the cases that run by default."""

import os
import shutil
from pathlib import Path

import pytest

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
# child processes of tests import the helpers of tests/support, too
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).with_name("support")), os.environ.get("PYTHONPATH")])
)


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items):
    """Mark as exhaustive what `first_cases` leaves out of the default selection.

    Of a parametrized test, `first_cases("p")` keeps the cases with the first value of `p`, and
    `first_cases` without names the first case alone.
    """
    for item in items:
        marker = item.get_closest_marker("first_cases")
        if marker is not None:
            indices = item.callspec.indices
            if any(indices[name] for name in marker.args or indices):
                item.add_marker(pytest.mark.exhaustive)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()
