"""Pure code and fakes of time only: the whole tier takes seconds."""

from hypothesis import settings

# The machine is shared: an example that takes long says nothing about the code.
settings.register_profile("slipway", deadline=None, max_examples=30, database=None)
settings.load_profile("slipway")
