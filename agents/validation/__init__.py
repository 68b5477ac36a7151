"""The stage that parses requests and resolves their URLs."""
