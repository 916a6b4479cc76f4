"""Schema of the state database: revisions of every package's tables, applied when the core starts."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

from alerting.state import answering
from fengsui.database import connect, writing


def upgrade(url: str) -> None:
    """Bring the database at ``url`` to the newest revision, in one transaction (blocking).

    Raises:
        RecordUnavailable: It cannot be reached, or a step failed; it is then as it was before.
    """
    engine = connect(url)
    try:
        with answering(), writing(engine) as connection:
            config = configuration()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def configuration() -> Config:
    """Alembic's settings; ``attributes["connection"]`` is the connection to work on."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
