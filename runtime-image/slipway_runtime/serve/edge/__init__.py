"""A caller's side of the server: sockets, connections, tokens, bodies, the drain."""
