"""The stages, one package or module each, and below them the tools that they use.

A request passes validation, extraction, selection, download and ledger. recovery and delay handle
failures, monitor keeps the state of breakers and rates, commands applies those of operators.
"""
