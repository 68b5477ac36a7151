"""What is asked for: requests, orders, and what the ledger knows of them."""
