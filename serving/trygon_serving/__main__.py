"""`python -m trygon_serving SETTINGS`: the launcher behind `trygon serve`. Ends with Ctrl-C or SIGTERM."""

import sys

from trygon.errors import report
from trygon_serving.settings import Settings, check
from trygon_serving.stop import interrupt_on_signals


def main() -> int:
    """Serve until a signal; the exit code."""
    interrupt_on_signals()
    try:
        settings = Settings.model_validate_json(sys.argv[1])
        catalogue = check(settings)
        # Ray and Serve take seconds to import: not before the settings are known to be good.
        from trygon_serving.launcher import run

        run(settings, catalogue)
    except KeyboardInterrupt:
        return 0
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        return report(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
