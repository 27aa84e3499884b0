"""Functions of the user where a spec may stand: checked, named, and sent to worker processes."""

import functools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events


class Own:
    """A user's function, given as `argument`; calling it calls the function.

    Pickling raises OptionError with advice if the function cannot be pickled.
    """

    def __init__(self, function: Callable[..., Any], argument: str) -> None:
        if not callable(function):
            raise OptionError(
                f"{argument} is {function!r}, expected text such as 'name:key=value' or a function"
            )
        self.function, self.argument = function, argument

    @property
    def __name__(self) -> str:
        """The module and name of the function, as in my_code:thin."""
        function = self.function
        while isinstance(function, functools.partial):
            function = function.func
        name = getattr(function, "__qualname__", type(function).__qualname__)
        return f"{getattr(function, '__module__', '')}:{name}"

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def events(self, events: Events, *more: Any) -> Events:
        """The events that the function returns, or a structured array (t, x, y, p), by time."""
        found = self.function(events, *more)
        if isinstance(found, Events):
            return found.sort()
        if isinstance(found, np.ndarray) and found.dtype.names:
            return Events.from_structured(found, events.size).sort()
        raise OptionError(
            f"{self.argument}: {self.__name__} returned {type(found).__name__}, expected Events or "
            "a structured array with t, x, y and p"
        )

    def frames(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The frames that the function makes of these, in the memory of the given ones."""
        found = self.function(frames, rng)
        if not isinstance(found, np.ndarray) or found.shape != frames.shape:
            shape = getattr(found, "shape", type(found).__name__)
            raise OptionError(
                f"{self.argument}: {self.__name__} returned {shape}, expected an array of the "
                f"shape {frames.shape} that it was given"
            )
        if found is not frames:
            np.copyto(frames, found, casting="unsafe")
        return frames

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            pickle.dumps(self.function)
        except Exception as error:
            raise OptionError(
                f"{self.argument}: {self.__name__} cannot be sent to worker processes ({error}); "
                "define it at the top level of a module, or use eventkit.loader.loader, which "
                "needs no workers"
            ) from None
        return Own, (self.function, self.argument)

    def __repr__(self) -> str:
        return self.__name__
