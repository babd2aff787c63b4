"""An application for agents to observe."""

import os

from flask import Flask

application = Flask(__name__)

if "SENTRY_DSN" in os.environ:
    import sentry_sdk

    # The other settings are in the environment.
    sentry_sdk.init()


@application.route("/there/<mark>")
def there(mark: str) -> str:
    return str(os.getpid())


@application.route("/fails/<mark>")
def fails(mark: str) -> str:
    raise RuntimeError(f"told of {mark}")
