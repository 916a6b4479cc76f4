"""The ledger: a stranger to the system writes down what was offered and accepted, and compares at the end."""
