"""Slipway's operator: watches ModelEndpoints and their children, renders, applies, reports."""

__version__ = "0.1.0"
