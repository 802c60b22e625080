"""For tests and doctests alike: strict promotion, a seed, and names that doctests use without importing them."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import settings

import verax

# Shape and dtype mistakes are where wrong numbers come from.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# How long an example takes is a benchmark, never a test.
settings.register_profile("verax", deadline=None)
settings.load_profile("verax")

#: Tests hold with either form of each operation: one that switches leaves nothing to the next one.
_FAST_KERNELS = os.environ.get("VERAX_FAST_KERNELS", "1") != "0"


@pytest.fixture(autouse=True)
def _as_in_a_new_process():
    """Every test starts from the same seed, names and settings, here and in Keras, whatever ran before it."""
    verax.utils.clear_session(free_memory=False)
    verax.utils.set_random_seed(20)
    config = verax.config
    config.set_dtype_policy(None)
    config.set_floatx("float32")
    config.set_epsilon(1e-7)
    config.set_image_data_format("channels_last")
    config.enable_flash_attention()
    config.set_max_epochs(None)
    config.set_max_steps_per_epoch(None)
    config.use_fast_kernels(_FAST_KERNELS)
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session(free_memory=False)


#: At how many bytes of this process compiled programs are let go of.
_LEAST = 2 << 30
_room = {"limit": _LEAST}


def _used() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else 0


@pytest.fixture(autouse=True)
def _bounded_memory():
    """Programs of earlier tests are forgotten when they fill memory: several processes must fit beside each other."""
    yield
    if _used() > _room["limit"]:
        jax.clear_caches()
        gc.collect()
        if sys.platform == "linux":
            with contextlib.suppress(OSError, AttributeError):  # glibc keeps what was freed, unless it is asked
                ctypes.CDLL("libc.so.6").malloc_trim(0)
        _room["limit"] = max(_LEAST, _used() + (1 << 29))


@pytest.fixture(autouse=True)
def _keras_as_it_comes(request: pytest.FixtureRequest):
    """Examples that run Keras itself run under JAX's own promotion rules, which Keras needs."""
    if request.path.parent == Path(verax.__file__).parent / "keras":
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            yield
    else:
        yield


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, object]):
    """A doctest has numpy, jax.numpy and verax at hand, beside the names of its own module."""
    doctest_namespace.update(np=np, jnp=jnp, verax=verax)
