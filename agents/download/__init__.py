"""The stage that downloads the selected files, verifies them and stores them."""
