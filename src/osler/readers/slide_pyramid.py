"""A slide that a library reads: opened when the first region is wanted, by one thread, in each process anew."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from osler.readers.slide_region import read_inside
from osler.study import SlideLevel


class LazyPyramid(ABC):
    """Implements `osler.study.SlideSource` around a library's slide.

    Args:
        paths: The file, or the files of one slide.
        levels: Level 0 first.
    """

    def __init__(self, paths: tuple[Path, ...], *, levels: tuple[SlideLevel, ...]) -> None:
        self.paths = paths
        self._levels = levels
        self._forget()

    @property
    def levels(self) -> tuple[SlideLevel, ...]:
        """Level 0 first."""
        return self._levels

    @property
    def name(self) -> str:
        """What messages call the slide: its file, or the folder of its files."""
        return str(self.paths[0].parent if len(self.paths) > 1 else self.paths[0])

    def read_region(self, *, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """See `osler.study.SlideSource.read_region`.

        Raises:
            FileFormatError: If the file is damaged there.
        """

        def read(x: int, y: int, width: int, height: int) -> np.ndarray:
            return self._piece(self._opened(), level=level, x=x, y=y, width=width, height=height)

        return read_inside(self._levels, level=level, x=x, y=y, width=width, height=height, read=read, name=self.name)

    @abstractmethod
    def _open(self) -> Any:
        """Opens the slide by its library."""

    @abstractmethod
    def _piece(self, slide: Any, *, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Reads a part inside a level, (height, width, 3) uint8."""

    def _opened(self) -> Any:
        with self._lock:
            if self._slide is None:
                self._slide = self._open()
            return self._slide

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._slide: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # A study may be sent to another process: it opens the file for itself.
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_slide")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()
