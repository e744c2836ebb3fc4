"""Tensors, masked arrays and arrays of other libraries as NumPy arrays."""

from typing import Any

import numpy as np


def without_mask(array: np.ma.MaskedArray) -> np.ndarray:
    """Return the numbers of a masked array, NaN where it is masked."""
    return np.where(np.ma.getmaskarray(array), np.nan, np.ma.getdata(array))


def as_numpy(values: Any) -> Any:
    """Return tensors and arrays of other libraries as NumPy's; anything else as it is.

    Gradients are left behind; types that NumPy lacks, as bfloat16, become float32.
    """
    if hasattr(values, "detach") and hasattr(values, "cpu"):
        tensor = values.detach().cpu()
        try:
            return tensor.numpy()
        except TypeError:
            return tensor.float().numpy()
    # NumPy's own arrays, masked and mapped ones among them, stay what they are
    foreign = hasattr(values, "__array_namespace__") and not isinstance(
        values, (np.ndarray, np.generic)
    )
    return np.asarray(values) if foreign else values
