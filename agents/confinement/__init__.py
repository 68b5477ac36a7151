"""What the kernel takes from a process that runs untrusted code: system calls and files."""
