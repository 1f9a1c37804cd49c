"""Threads of BLAS: kept out of the way by whichever of our threads comes, and given back."""

from __future__ import annotations

import os
import subprocess
import sys

# In a process of its own: with two BLAS threads whatever this machine has, and with nobody who has set a limit before.
CODE = """
from concurrent.futures import ThreadPoolExecutor
import numpy, scipy.linalg
from threadpoolctl import threadpool_info
from sartor.parts.threads import blas_alone

def counts():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

pools = [ThreadPoolExecutor(1) for _ in range(3)]
def on(number, call, *arguments):
    return pools[number].submit(call, *arguments).result()

before = counts()
for first, second in ((0, 1), (1, 2), (2, 0)):
    held = blas_alone()
    on(first, held.__enter__)
    inner = blas_alone()
    on(second, inner.__enter__)
    print("inside", counts())
    on(first, held.__exit__, None, None, None)
    print("inside", counts())
    on(second, inner.__exit__, None, None, None)
    print("back", counts() == before)
"""


def test_any_thread_may_keep_blas_alone_and_any_other_give_it_back() -> None:
    environment = {**os.environ, **dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "2")}
    said = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment).stdout.splitlines()
    assert said == ["inside {1}", "inside {1}", "back True"] * 3
