"""Which endpoint, and the call to it: routes, pools, pickers, connectors."""
