"""A run's results for readers: Markdown tables and a picture, both drawn from the JSON alone."""
