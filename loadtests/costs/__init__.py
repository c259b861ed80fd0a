"""What each policy costs a call that it lets through: the policies at work, and how that is measured."""
