"""What is written on a picture, and whether it can be read."""


def written(figure):
    """Return what is written on a figure: texts and the boxes they fill, in pixels."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    found = []
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible():
            found.append(text)
    hidden = set()
    for ax in figure.axes:
        for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            low, high = min(low, high), max(low, high)
            for tick in (*axis.majorTicks, *axis.minorTicks):
                if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    hidden |= {tick.label1, tick.label2}
    # an annotation's own extent includes the line to its point
    extent = Text.get_window_extent
    return [(t.get_text(), extent(t)) for t in found if t not in hidden]


def overlapping(texts, slack=1.0):
    """Return the pairs of texts whose boxes share more than `slack` pixels both ways."""
    pairs = []
    for k, (one, a) in enumerate(texts):
        for other, b in texts[:k]:
            wide = min(a.x1, b.x1) - max(a.x0, b.x0)
            high = min(a.y1, b.y1) - max(a.y0, b.y0)
            if wide > slack and high > slack:
                pairs.append((one, other))
    return pairs
