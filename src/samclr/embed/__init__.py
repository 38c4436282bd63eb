"""Vectors of images and objects, kept in files: made, searched, looked through for near-duplicates and thinned out.

`samclr.embed(...)` is a function of the public API, and Python sets the name of a package's sub-package as soon as any
of its modules is imported. So this one is called as the function, samclr.embed.calls.embed, is.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class _Called(ModuleType):
    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """What `inspect.signature` looks at."""
        from samclr.embed.calls import embed  # here, as it imports torch

        return embed

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self.__wrapped__(*given, **named)


sys.modules[__name__].__class__ = _Called
