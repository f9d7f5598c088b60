"""Tables, files and pages made from results.

The package can be called: ``npusim.report(graph, dataset)`` is ``npusim.api.reporting.report``,
whose name it shares.
"""

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        import npusim

        return npusim._public_report()(*args, **kwargs)

    @property
    def __signature__(self) -> Any:
        import inspect

        import npusim

        return inspect.signature(npusim._public_report())


sys.modules[__name__].__class__ = _CallablePackage
