"""What tests of several tiers use."""

import os

# As the runtime sets it for itself (slipway_runtime/cpu.py): for models in the tests' own process, and for
# servers forked from it: libgomp looks once, when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "300")
