"""What a run was begun with, kept in its folder: it goes on with the same, or is refused."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol

from osler.errors import RequestError
from osler.weights.json_file import read_json

PLAN_FILE = "plan.json"


class Planned(Protocol):
    """A recipe: a dataclass with the folder of its run."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def out(self) -> str:
        """The folder."""
        ...


def plan_of(recipe: Planned, *, free: Collection[str], also: Mapping[str, object]) -> dict[str, object]:
    """What must stay the same, as it is read back from a file.

    Args:
        free: Keys of the recipe that may change, beside ``optimizer.steps``.
        also: What else must stay, such as the digest of the weights.
    """
    settings = {key: value for key, value in asdict(recipe).items() if key not in free}  # type: ignore[call-overload]
    settings["optimizer"] = {key: value for key, value in settings["optimizer"].items() if key != "steps"}
    return _plain(settings | dict(also))


def require_same_run(
    path: Path, *, recipe: Planned, plan: Mapping[str, object], free: Collection[str], anew: str
) -> None:
    """Checks that a run, if there is one, was begun with the same plan.

    Args:
        path: Of its plan. plan: From `plan_of`. free: See there.
        anew: What to delete to start anew.

    Raises:
        RequestError: If it was not, with the keys that differ.
    """
    if not path.is_file():
        return
    # A plan of before a key was there means its default.
    usual = {f.name: f.default for f in fields(recipe) if f.default is not MISSING}  # type: ignore[arg-type]
    usual |= {f.name: f.default_factory() for f in fields(recipe) if f.default_factory is not MISSING}  # type: ignore[arg-type]
    old = _plain(usual) | read_json(path)
    differ = sorted(key for key in plan.keys() | old.keys() if plan.get(key) != old.get(key) and key not in free)
    if differ:
        raise RequestError(
            f"{recipe.out!r} holds a run with another {', '.join(differ)}.",
            allowed=f"Going on may change optimizer.steps, {', '.join(key for key in free if key != 'out')}.",
            next_step=f"Choose another `out`, or delete {anew} to start anew.",
        )


def _plain(settings: Mapping[str, object]) -> dict[str, object]:
    """As settings are read back: lists for tuples."""
    return json.loads(json.dumps(settings, default=asdict))
