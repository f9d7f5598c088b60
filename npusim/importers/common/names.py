"""Names that an import invents: a name in a file is never an error, and none is given twice."""

from collections.abc import Container


def claim(base: str, taken: set[str], *others: Container[str]) -> str:
    """Return a name that nothing has, and take it: names claimed one after the other differ.

    Parameters
    ----------
    base : str
        Returned as it is when it is free, else with the first free number from 2 on behind it.
    taken : set of str
        All names of the file, also those of tensors that come later, and all that were claimed.
    others : containers of str
        Where names may be besides.
    """
    name, count = base, 1
    while name in taken or any(name in other for other in others):
        count += 1
        name = f"{base}{count}"
    taken.add(name)
    return name
