"""The stage that fetches the chosen files, verifies them and stores them."""
