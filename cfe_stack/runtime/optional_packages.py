"""Optional packages: loaded when they are needed, and named plainly when they are missing."""

import importlib
from types import ModuleType


class MissingExtraError(ImportError):
    """An optional package is needed that is not installed, or that does not load.

    The message is one sentence that holds the command to type.

    Examples
    --------
    >>> from cfe_stack.runtime import MissingExtraError, import_extra
    >>> try:
    ...     import_extra("no_such_booster", extra="boosting")
    ... except MissingExtraError as error:
    ...     print(error)
    no_such_booster is not installed: run `python -m pip install "cfe-stack[boosting]"`.
    """


def import_extra(module: str, *, extra: str) -> ModuleType:
    """Import an optional package, or say in one sentence how to get it.

    Parameters
    ----------
    module : str
        Name of the module to import.
    extra : str
        Extra of ``cfe-stack`` that installs it, for instance ``"boosting"``.

    Returns
    -------
    module : module
        The imported module.

    Raises
    ------
    MissingExtraError
        If the package is not installed, or if a library that it links to is missing.

    Examples
    --------
    >>> from cfe_stack.runtime import import_extra
    >>> import_extra("math", extra="boosting").sqrt(4.0)
    2.0
    """
    command = f'`python -m pip install "cfe-stack[{extra}]"`'
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A package that is there but lacks something of its own has another cause and another cure.
        package = module.split(".")[0]
        if error.name is None or error.name.split(".")[0] != package:
            raise MissingExtraError(
                f"{module} does not load because {error.name} is missing: run {command}."
            ) from error
        raise MissingExtraError(f"{package} is not installed: run {command}.") from error
    except OSError as error:
        # Boosters load a compiled library that may need a system package, for instance libgomp.
        raise MissingExtraError(
            f"{module} is installed but its compiled library does not load ({error}): "
            f"install what it names with the system's package manager."
        ) from error
