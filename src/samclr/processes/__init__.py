"""How work is spread over processes and clusters, and how it is stopped."""
