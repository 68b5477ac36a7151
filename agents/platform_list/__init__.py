"""`clipmill platforms`: the installed platforms and what they support."""
