"""The command `clipmill engine`: canary requests through the installed extractor."""
