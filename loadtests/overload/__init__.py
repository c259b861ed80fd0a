"""Three times what a backend can do, in three classes and of two tenants: who is served, how soon, and how much."""
