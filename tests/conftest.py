"""One thread per test process: pytest runs several, and the systems in the tests are small."""

import os

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
