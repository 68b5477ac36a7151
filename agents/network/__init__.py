"""How the outside world is reached: egress proxy, trusted roots, address guard, downloader."""
