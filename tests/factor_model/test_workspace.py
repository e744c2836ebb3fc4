import numpy as np
import pytest

from cfe_stack.factor_model.workspace import Workspace


def test_a_name_is_a_buffer_that_grows_when_it_must():
    workspace = Workspace()
    small = workspace.array("a", (3, 4), np.float64)
    small[:] = 1.0
    assert small.flags.c_contiguous
    assert np.shares_memory(workspace.array("a", (2, 2), np.float64), small)
    large = workspace.array("a", (5, 4), np.float64)
    assert large.shape == (5, 4)
    assert not np.shares_memory(large, small)
    np.testing.assert_array_equal(small, 1.0)


@pytest.mark.parametrize(("name", "dtype"), [("b", np.float64), ("a", np.float32)])
def test_other_names_and_types_are_other_buffers(name, dtype):
    workspace = Workspace()
    first, other = workspace.array("a", (4,), np.float64), workspace.array(name, (4,), dtype)
    assert other.dtype == dtype
    assert not np.shares_memory(first, other)
