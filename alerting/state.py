"""The state database as alerting asks it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DatabaseError

from alerting.errors import RecordUnavailable


@contextmanager
def answering() -> Iterator[None]:
    """Say of an error of the database that it is the state database's.

    Raises:
        RecordUnavailable: In the place of the error.
    """
    try:
        yield
    except DatabaseError as error:
        raise RecordUnavailable(f"the state database did not answer: {error.orig}") from error
