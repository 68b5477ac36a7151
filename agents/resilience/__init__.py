"""What to do about failures: the policy, and the decision that it leads to."""
