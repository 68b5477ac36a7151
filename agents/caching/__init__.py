"""What is remembered so that it need not be asked again."""
