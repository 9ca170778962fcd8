"""Tasks: what a model is served for. One adapter per task, one line per task in `table.TASKS`.

parse → preprocess → (queue, batch) forward → postprocess. `table` and `detect` are free of torch; the adapters' modules
import it and are therefore only imported once torch has been loaded in its own thread.
"""
