"""Compiled programs that a later process finds without tracing them again.

JAX's own cache is asked by the lowered program, and to trace and lower a
decoder takes about as long as the question that waits for it. So each program
is also kept whole, under everything that decides it: shapes and types of the
arguments, the configuration, Osler's sources, JAX's version and settings. The
folder is that of `osler.jax.compilation`, with the same checks.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Hashable
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jaxlib
from jax.experimental import serialize_executable

from osler.jax.compilation import kept_in, without_cache_of_jax
from osler.weights.cache import whole_path

_LENGTH = struct.Struct("<Q")
_DIGEST_BYTES = 32


class Program:
    """A function, compiled once for each shape of its arguments.

    Args:
        function: Of arrays by position; ``config``, by name, is hashable and no array.
        donate: Names of arguments that are given away.
    """

    def __init__(self, function: Callable[..., Any], *, donate: tuple[str, ...] = ()) -> None:
        self._name = function.__name__
        self._jitted = jax.jit(function, static_argnames=("config",), donate_argnames=donate)
        self._ready: dict[Hashable, Callable[..., Any]] = {}

    def __call__(self, *args: Any, config: Hashable) -> Any:
        """Calls the program, which is found or compiled the first time."""
        leaves, tree = jax.tree.flatten(args)
        kinds = tuple((leaf.shape, leaf.dtype, getattr(leaf, "sharding", None)) for leaf in leaves)
        key = (tree, config, kinds)
        ready = self._ready.get(key)
        if ready is None:
            ready = self._ready[key] = self._make(args, config=config, mark=repr(key), alone=_on_one_device(leaves))
        return ready(*args)

    @property
    def shapes(self) -> int:
        """For how many shapes of arguments there is a program."""
        return len(self._ready)

    def _make(self, args: tuple[Any, ...], *, config: Hashable, mark: str, alone: bool) -> Callable[..., Any]:
        folder = kept_in() if alone else None
        if folder is None:
            return self._jitted.lower(*args, config=config).compile()
        digest = sha256(f"{_origin()} {sorted(jax.config.values.items())} {mark}".encode()).hexdigest()
        path = folder / f"{self._name}-{digest[:32]}.program"
        found = _loaded(path, args)
        if found is None:
            with without_cache_of_jax():
                found = self._jitted.lower(*args, config=config).compile()
            _keep(found, path)
        return found


def _on_one_device(leaves: list[Any]) -> bool:
    return all(len(leaf.sharding.device_set) == 1 for leaf in leaves if isinstance(leaf, jax.Array))


@cache
def _origin() -> str:
    """Names what made a program: Osler's sources and the versions of JAX."""
    digest = sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return f"{digest.hexdigest()} {jax.__version__} {jaxlib.__version__} {jax.default_backend()}"


def _loaded(path: Path, args: tuple[Any, ...]) -> Callable[..., Any] | None:
    """Loads a program; ``None`` where there is none, or one that was cut short or changed."""
    try:
        whole = path.read_bytes()
        rest = whole[_DIGEST_BYTES:]
        if sha256(rest).digest() != whole[:_DIGEST_BYTES]:
            return None
        (length,) = _LENGTH.unpack_from(rest)
        tree, program = rest[_LENGTH.size : _LENGTH.size + length], rest[_LENGTH.size + length :]
        result = jax.tree.structure(_read_tree(json.loads(tree)))
        return serialize_executable.deserialize_and_load(
            program, jax.tree.structure((args, {})), result, execution_devices=jax.devices()[:1]
        )
    except (OSError, ValueError, TypeError, AttributeError, ImportError, jax.errors.JaxRuntimeError):
        return None


def _keep(compiled: Any, path: Path) -> None:
    """Writes digest, length and bytes of the result's tree, and the program.

    One that cannot be written is compiled again next time, and nothing is lost.
    """
    try:
        program, _, result = serialize_executable.serialize(compiled)
        tree = json.dumps(_written_tree(jax.tree.unflatten(result, range(result.num_leaves)))).encode()
        rest = _LENGTH.pack(len(tree)) + tree + program
        with whole_path(path) as part:
            part.write_bytes(sha256(rest).digest() + rest)
    except (OSError, ValueError, TypeError, NotImplementedError, jax.errors.JaxRuntimeError):
        return


def _written_tree(node: Any) -> Any:
    """What a program returns, as JSON: leaves as numbers, named tuples by where their type stands."""
    if isinstance(node, dict):
        return {"dict": {name: _written_tree(part) for name, part in node.items()}}
    if isinstance(node, (tuple, list)):
        kind = f"{type(node).__module__}:{type(node).__qualname__}" if hasattr(node, "_fields") else type(node).__name__
        return {kind: [_written_tree(part) for part in node]}
    return node


def _read_tree(written: Any) -> Any:
    """The other way; a type that is none of Osler's is refused.

    Raises:
        ValueError: If it is.
    """
    if not isinstance(written, dict):
        return written
    ((kind, parts),) = written.items()
    if kind == "dict":
        return {name: _read_tree(part) for name, part in parts.items()}
    inner = [_read_tree(part) for part in parts]
    if kind in ("tuple", "list"):
        return tuple(inner) if kind == "tuple" else inner
    module, _, name = kind.partition(":")
    if not module.startswith("osler."):
        raise ValueError(f"{kind} is no type of Osler")
    return getattr(import_module(module), name)(*inner)
