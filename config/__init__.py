"""What did the operator write? YAML to frozen, typed objects; mistakes with file, line and column."""
