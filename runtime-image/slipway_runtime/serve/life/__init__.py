"""The stage a server is in, how long until it is Ready, and whether its forwards still work."""
