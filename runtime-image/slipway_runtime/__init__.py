"""The runtime: one image that fetches a model and serves, trains or runs batches with it.

Importing this package, its settings and its HTTP side never imports torch; only `tasks/*` modules that hold a forward
do.
"""

__version__ = "0.1.0"
