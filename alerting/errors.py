"""Errors of alerting.

::

    AlertingError
    ├── AlarmRefused           an action of a person that cannot be done; ``code`` says why
    │   ├── UnknownAlarm       no such alarm, or none this person may see
    │   ├── StaleAlarm         the alarm has changed since this person looked: look again
    │   ├── NotAllowed         the person's roles do not allow it
    │   └── Impossible         nobody can do that to this alarm: the text says what to change
    ├── HeadsDamaged           the exported heads of the record cannot be read: an audit must look
    ├── RecordUnavailable      the state database does not answer: try again later
    ├── FileRefused            a file that cannot be used: correct it; ``problems`` holds every one
    │   ├── RulesRefused       a rule file
    │   └── RosterRefused      a roster, which says who is called when
    └── DeliveryError          a message was not delivered; ``retryable`` says whether later may help
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from fengsui.errors import FengsuiError, Unavailable

if TYPE_CHECKING:
    from alerting.alarms.lifecycle import Alarm


class AlertingError(Exception):
    """Root of the tree."""


class AlarmRefused(AlertingError):
    """An action that cannot be done; ``code`` is the word of the core's socket."""

    code: Literal["unknown", "stale", "forbidden", "invalid"]


class UnknownAlarm(AlarmRefused):
    """No such open alarm; said just the same when it belongs to a unit the person does not see."""

    code = "unknown"


class StaleAlarm(AlarmRefused):
    """The alarm has moved since, or is in a state where this action means nothing.

    Attributes:
        alarm: As it is now; its ``moved`` says what changed, by whom and when.
    """

    code = "stale"

    def __init__(self, text: str, alarm: Alarm) -> None:
        super().__init__(text)
        self.alarm = alarm


class NotAllowed(AlarmRefused):
    """The person's roles do not allow it."""

    code = "forbidden"


class Impossible(AlarmRefused):
    """The order lacks something, or is never done to such an alarm."""

    code = "invalid"


class HeadsDamaged(AlertingError):
    """A line of the exported heads is no head; the text names file and line."""


class RecordUnavailable(AlertingError, Unavailable):
    """The state database cannot be read or written now."""


class Problem(NamedTuple):
    """What is wrong in a file, and what to do; line 0 stands for the whole file."""

    line: int
    text: str


class FileRefused(AlertingError, FengsuiError):
    """A file that cannot be used; nothing of it was taken. ``str()`` has lines ``file:line: reason``."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        self.name = name
        self.problems = sorted(problems)
        super().__init__(
            "\n".join(f"{name}:{line}: {text}" if line else f"{name}: {text}" for line, text in self.problems)
        )


class RulesRefused(FileRefused):
    """A rule file that cannot be used."""


class RosterRefused(FileRefused):
    """A roster that cannot be used."""


class DeliveryError(AlertingError):
    """A message was not delivered; ``retryable`` says whether the same may succeed later."""

    def __init__(self, text: str, *, retryable: bool) -> None:
        super().__init__(text)
        self.retryable = retryable
