"""What each child makes anew after the fork: event loops, and generators of random numbers.

Runs as the module ``_rwsgi_renew``, from before the application is loaded.
"""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from typing import Any

# Where what it needs is out of reach for the user of the application, no generator is made either.
with suppress(ImportError):
    import random

# Those that were given a seed, by their identity, and kept so that no other takes that.
_seeded: dict[int, random.Random] = {}
_to_renew: list[Any] = []
_originals: dict[str, Any] = {}
# A generator of numpy that was given no seed has this many bits from the system.
_SMALLEST_ENTROPY = 1 << 64


def watch() -> None:
    """Note which generators are given a seed, until `find`."""
    if "random" not in globals():
        return
    _originals.update(seed=random.Random.seed, setstate=random.Random.setstate)

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        _originals["seed"](self, a, version)
        _note(self, a is not None)

    def setstate(self: random.Random, state: Any) -> None:
        _originals["setstate"](self, state)
        _note(self, True)

    random.Random.seed = seed  # type: ignore[method-assign]
    random.Random.setstate = setstate  # type: ignore[method-assign]


def _note(generator: random.Random, is_seeded: bool) -> None:
    if is_seeded:
        _seeded[id(generator)] = generator
    else:
        _seeded.pop(id(generator), None)


def find() -> list[str]:
    """Find the generators that are to be seeded anew in each child; one sentence for each kind."""
    if not _originals:
        return []
    random.Random.seed = _originals["seed"]  # type: ignore[method-assign]
    random.Random.setstate = _originals["setstate"]  # type: ignore[method-assign]
    gc.collect()
    found = [thing for thing in gc.get_objects() if _is_generator(type(thing)) and _is_unseeded(thing)]
    # What a generator of numpy draws from is renewed with it.
    numpys = [thing for thing in found if not isinstance(thing, random.Random)]
    inner = {id(_bits(thing)) for thing in numpys if not _is_bit_generator(type(thing))}
    _to_renew[:] = [thing for thing in found if id(thing) not in inner]
    kept = len(_seeded)
    _seeded.clear()
    kinds: dict[str, int] = {}
    for thing in _to_renew:
        kind = f"{type(thing).__module__}.{type(thing).__qualname__}"
        kinds[kind] = kinds.get(kind, 0) + 1
    told = [
        f"{count} random generator{'s' * (count > 1)} ({kind}) without a seed: each child seeds it anew"
        for kind, count in kinds.items()
    ]
    if kept:
        told.append(f"{kept} random generator{'s' * (kept > 1)} with a seed: the same numbers in each child")
    return told


def after_fork() -> None:
    """Make anew what the child has inherited."""
    _renew_loops()
    for generator in _to_renew:
        if isinstance(generator, random.Random):
            generator.seed()
        elif hasattr(generator, "bit_generator"):
            generator.bit_generator.state = type(generator.bit_generator)().state
        elif _is_bit_generator(type(generator)):
            generator.state = type(generator)().state
        else:
            generator.seed()
    # CPython has seeded the generator of `random` itself.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def _renew_loops() -> None:
    gevent_local = sys.modules.get("gevent._hub_local")
    if gevent_local is not None and (gevent_local.get_hub_if_exists() is not None or _is_patched_by_gevent()):
        sys.modules["gevent"].reinit()
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and getattr(patcher, "already_patched", None):
        # Without an argument it takes the same kind of hub as before, in place of the inherited one.
        sys.modules["eventlet.hubs"].use_hub()


def _is_patched_by_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return bool(monkey is not None and monkey.saved)


def _numpy(name: str) -> Any:
    return getattr(sys.modules.get("numpy.random"), name, None)


def _is_generator(kind: type) -> bool:
    if random.Random in kind.__mro__:
        return random.SystemRandom not in kind.__mro__
    return kind is _numpy("Generator") or kind is _numpy("RandomState") or _is_bit_generator(kind)


def _is_bit_generator(kind: type) -> bool:
    """One of those of numpy that others draw from, and that can be used by itself."""
    base = _numpy("BitGenerator")
    return isinstance(base, type) and base in kind.__mro__


def _bits(generator: Any) -> Any:
    """What a generator of numpy draws from; one that others draw from itself."""
    if _is_bit_generator(type(generator)):
        return generator
    return getattr(generator, "bit_generator", None) or getattr(generator, "_bit_generator", None)


def _is_unseeded(generator: Any) -> bool:
    if isinstance(generator, random.Random):
        return generator is not random._inst and id(generator) not in _seeded
    bits = _bits(generator)
    if bits is _bits(getattr(sys.modules.get("numpy.random.mtrand"), "_rand", None)):
        return False
    entropy = getattr(getattr(bits, "_seed_seq", None), "entropy", None)
    return isinstance(entropy, int) and entropy >= _SMALLEST_ENTROPY


# There is no such file, whatever looks for the files of modules.
for _name in ("__file__", "__cached__"):
    globals().pop(_name, None)
