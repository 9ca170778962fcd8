"""Serving: request → dialect → service → queue → batcher → forward → service → dialect.

process (sockets, threads, signals) starts lifecycle (fetch, load, retry) and the two servers (app on 8080, admin on
9090). dialects/ knows nothing of models, batcher and queue know nothing of HTTP, tasks/ knows nothing of either.
"""
