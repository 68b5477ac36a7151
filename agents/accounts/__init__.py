"""Platform accounts: cookie files, sessions with renewed cookies, health and selection.

Front door of authenticators.
"""

from agents.accounts.interface import (
    Account,
    AccountStatus,
    AccountUse,
    Authenticator,
    LoginSettings,
)

__all__ = ["Account", "AccountStatus", "AccountUse", "Authenticator", "LoginSettings"]
