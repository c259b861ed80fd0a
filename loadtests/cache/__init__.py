"""What answers from the cache cost, and what a store in trouble costs."""
