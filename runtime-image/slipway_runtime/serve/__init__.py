"""Serving: connection → auth → http → dialect → service → queue → batcher → forward → service → dialect.

process (sockets, threads, signals) starts lifecycle (fetch, load, retry), watchdog and the two servers (app on 8080,
admin on 9090); draining ends them. dialects/ knows nothing of models, batcher and queue know nothing of HTTP, tasks/
knows nothing of either. middleware tells metrics, access log and spans of each request what stages says of it.
"""
