"""Entry of the `auditor` command.

Even a broken installation must not look like a verdict.
"""

import sys
import traceback


def main() -> None:
    """Run the command line.

    The exit code is 4 if it cannot even be imported.
    """
    try:
        from auditor.cli.main import run
    except KeyboardInterrupt:
        sys.exit(130)
    except BaseException:  # an exit code of 1 would say FAIL
        traceback.print_exc()
        sys.exit(4)
    try:
        code = run()
    except BaseException:  # not even the error could be printed
        code = 4
    sys.exit(code)


if __name__ == "__main__":
    main()
