"""Base class of the errors that operators cause and can correct."""


class OperatorError(Exception):
    """What happened, to what, and what the operator can do; commands print it without a traceback.

    A base class and not a list of classes in the command line: a list imports the packages of all
    of them, Faust among them, which took half a second of CPU time at each call of `clipmill`.
    """


class StageFailedError(OperatorError):
    """Fails the stage, which restarts. The cause is not a record, so no bug report is written."""
