"""One program for each set of shapes, from whichever thread; donated memory; options a jaxlib may not know."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels import kernels
from verax.engine import compiler, memory
from verax.engine.compiler import Programs, compiler_options


def counting():
    traces = []

    def double(carry, x):
        traces.append(x.shape)
        return carry * 2.0 + jnp.sum(x)

    return double, traces


def test_one_program_for_each_set_of_shapes():
    double, traces = counting()
    programs = Programs(double)
    for size in (3, 4, 3, 4, 3):
        assert programs(jnp.ones(2), jnp.ones(size)).tolist() == [2.0 + size] * 2
    assert traces == [(3,), (4,)]
    assert len(programs) == 2
    assert programs(1.0, jnp.ones(3)) == 5.0  # a Python number is a form of its own


def test_what_another_thread_compiled_is_not_compiled_again():
    double, traces = counting()
    programs = Programs(double)
    shape = jax.ShapeDtypeStruct((5,), "float32")
    threads = [threading.Thread(target=programs.prepare, args=(shape, shape)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert programs(jnp.ones(5), jnp.ones(5)).tolist() == [7.0] * 5
    assert traces == [(5,)]


def test_a_donated_argument_is_used_up_and_the_others_are_not():
    double, _ = counting()
    carry, x = jnp.ones(1024), jnp.ones(3)
    assert Programs(double, donate=True)(carry, x)[0] == 5.0
    assert carry.is_deleted()
    assert not x.is_deleted()
    kept = jnp.ones(1024)
    Programs(double)(kept, x)
    assert not kept.is_deleted()


def test_nothing_is_donated_to_a_program_that_may_fail_on_the_host():
    def through_the_host(carry, x):
        like = jax.ShapeDtypeStruct(carry.shape, carry.dtype)
        return jax.lax.fori_loop(0, 2, lambda i, c: jax.pure_callback(lambda a: np.asarray(a) + 1, like, c), carry) + x

    carry = jnp.ones(8)
    assert Programs(through_the_host, donate=True)(carry, jnp.ones(8))[0] == 4.0
    assert not carry.is_deleted()


def test_the_options_are_those_of_the_switch_and_of_the_jaxlib(monkeypatch):
    with kernels(False):
        assert compiler_options() == {}
    with kernels(True):
        assert set(compiler_options()) <= {"xla_cpu_experimental_ynn_fusion_type"}
        monkeypatch.setattr(compiler, "_OPTION", "xla_cpu_no_such_option")
        compiler._accepted.cache_clear()
        try:
            assert compiler_options() == {}
            assert Programs(lambda x: x + 1)(jnp.ones(())) == 2.0
        finally:
            compiler._accepted.cache_clear()


def test_a_program_that_attends_has_its_products_in_one_piece(monkeypatch):
    asked = []
    options = compiler.compiler_options
    monkeypatch.setattr(compiler, "compiler_options", lambda *, attends: asked.append(attends) or options())
    a, b = jnp.ones((3, 4)), jnp.ones((2, 3, 4))
    Programs(lambda a: jax.lax.fori_loop(0, 2, lambda i, c: jnp.tanh(c @ c.T) @ c, a))(a)
    Programs(lambda b: jax.lax.fori_loop(0, 2, lambda i, c: jnp.einsum("bij,bkj,bkl->bil", c, c, c), b))(b)
    assert asked == [False, True]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_freed_memory_is_kept_unless_that_is_forbidden(monkeypatch):
    monkeypatch.setenv("VERAX_KEEP_MEMORY", "0")
    memory.keep_freed_memory.cache_clear()
    assert not memory.keep_freed_memory()
    monkeypatch.delenv("VERAX_KEEP_MEMORY")
    memory.keep_freed_memory.cache_clear()
    assert memory.keep_freed_memory()


def test_only_a_program_of_much_scratch_memory_keeps_it(monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: asked.append(1))
    Programs(lambda x: jnp.sin(x).sum())(jnp.ones((100, 100)))
    assert not asked
    Programs(lambda x: jax.lax.fori_loop(0, 2, lambda i, a: jnp.tanh(a.T @ a), x))(jnp.ones((2048, 2048)))
    assert asked


_AGAIN = """
import jax, numpy as np, verax
heard = {"cache_hits": 0, "cache_misses": 0}
def count(name, **about):
    if name.rpartition("/")[2] in heard:
        heard[name.rpartition("/")[2]] += 1
jax.monitoring.register_event_listener(count)
model = verax.Sequential([verax.Input((5,)), verax.layers.Dense(7, "relu"), verax.layers.Dense(2)])
model.compile("adam", "mse")
verax.utils.set_random_seed(1)
history = model.fit(np.ones((12, 5)), np.ones((12, 2)), batch_size=8, verbose=0)
print(heard["cache_hits"], heard["cache_misses"])
"""


def test_a_second_process_finds_all_programs_of_the_first(tmp_path):
    def run():
        env = {**os.environ, "VERAX_COMPILATION_CACHE": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", _AGAIN], env=env, capture_output=True, text=True, check=True)
        return [int(n) for n in done.stdout.split()]

    first, second = run(), run()
    assert first[1] > 5  # the first values of weights, too
    assert second == [sum(first), 0]
