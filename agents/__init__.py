"""The pipeline stages, one package or module each, in the order in which a request passes them.

validation, extraction, selection, download, ledger; recovery and delay handle failed events.
"""
