"""How a real browser shows a page that needs nothing but itself."""

WIDTHS = (400, 1400)
"""A telephone and a desk, in pixels."""


def check_shown(browser, page, width, n_pictures):
    """Open a page and look for complaints, requests, hidden pictures and text too small."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.innerWidth") == width
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert [name for name in loaded if not name.startswith("data:")] == []
    pictures = browser.execute_script(
        "return [...document.images].map(i => {const b = i.getBoundingClientRect();"
        "return [i.complete, i.naturalWidth, b.left, b.right, b.width, b.height]})"
    )
    assert len(pictures) == n_pictures
    for complete, natural, left, right, shown, height in pictures:
        assert complete
        assert natural > 500
        # whole on the screen, and large enough that their text can be read
        assert 0 <= left < right <= width
        assert shown > 330
        assert height > 100
    # tables scroll by themselves; the page does not
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    smallest = browser.execute_script(
        "return Math.min(...[...document.querySelectorAll('p, li, td, th, figcaption')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert smallest >= 13
