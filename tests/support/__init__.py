"""What tests of several tiers use."""

import os

# As the runtime sets it for itself (slipway_runtime/cpu.py), for the models that tests run in their own process, and for
# servers forked from it: libgomp looks once, when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "300")
