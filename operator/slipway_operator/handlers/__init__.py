"""The kopf adapter: thin handlers that start and stop the process.

No logic here. What kopf does and what not: decisions/0008-kopf.md.
"""
