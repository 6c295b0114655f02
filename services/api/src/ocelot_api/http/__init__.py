"""The HTTP edge: connections, framing and drain of the public port (docs/adr/0021).

A request reaches the application through these modules, in this order: `listener` accepts its
connection, `connections` counts it, `connection` reads its head and body, `head` checks the head,
and `exchange` runs the application and writes the answer. `server` starts and drains all of them.
"""
