"""llama.cpp beside Osler in the same run, in a process of its own, so that it may live in another environment.

    python -m benchmarks.quant_kernels --llama /path/to/an/environment/bin/python

That environment needs ``llama-cpp-python``, built with the instructions of this
processor (``pip install llama-cpp-python`` does so by itself).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import Seconds

_SCRIPT = """
import json, sys, time
from llama_cpp import Llama
path, threads, clock, count, prompt = json.loads(sys.stdin.readline())
clock = {"wall": time.perf_counter, "cpu": time.process_time}[clock]
llama = Llama(path, n_ctx=2048, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    started = clock()
    if json.loads(line) == "prefill":
        llama.reset()
        llama.eval(prompt)
    else:
        for _ in range(count):
            llama.eval([llama.sample(temp=0.0, top_k=1)])
    print(json.dumps(clock() - started), flush=True)
"""


class LlamaPeer:
    """Reads one prompt and decodes after it, as often as it is asked.

    Args:
        python: Of an environment that has ``llama_cpp``. model: A GGUF file.
        prompt: Token ids. count: Tokens to decode.
        threads: Of every step. clock: ``"wall"`` or ``"cpu"``.

    Raises:
        OSError: If it does not start; the message holds what it wrote.
    """

    def __init__(
        self, python: Path, *, model: Path, prompt: Sequence[int], count: int, threads: int, clock: str
    ) -> None:
        self._process = subprocess.Popen(
            [str(python), "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self._ask([str(model), threads, clock, count, list(prompt)]) != "ready":
            raise OSError(f"llama.cpp does not start with {str(python)!r}")

    def prefill(self) -> Seconds:
        """Reads the prompt."""
        return Seconds(self._ask("prefill"))

    def decode(self) -> Seconds:
        """Decodes after what was read."""
        return Seconds(self._ask("decode"))

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()

    def _ask(self, message: object) -> object:
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        stdin.write(json.dumps(message) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise OSError(f"llama.cpp has ended: {stderr.read()[-500:]}")
        return json.loads(line)
