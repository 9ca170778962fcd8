"""Kind-independent machinery: which key is looked at when, and by whom."""
