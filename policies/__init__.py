"""What happens around a call: one file per policy, none knows another."""
