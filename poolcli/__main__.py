"""Run the command line: the entry of the command `poolcli` and of `python -m poolcli`.

Nothing is imported here, nor in `poolcli/__init__`, before Ctrl-C is handled: the imports take most
of the time of a small picture, and Python would answer Ctrl-C by a traceback.
"""


def main() -> None:
    """Handle Ctrl-C, run the command line, and leave the process with its exit code."""
    import os

    interrupted = 130
    try:
        import signal
        import sys

        def leave(*_: object) -> None:
            """Print one line and leave the process at once: no work has begun, or all is done."""
            try:
                if sys.__stderr__ is not None:
                    message = b"poolcli: interrupted; no incomplete file was left\n"
                    os.write(sys.__stderr__.fileno(), message)
            finally:
                os._exit(interrupted)

        # A shell lets background commands, those that end in `&`, ignore Ctrl-C: so it stays.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, leave)
        from poolcli.cli import main as run

        run()
    except KeyboardInterrupt:
        os._exit(interrupted)
    except SystemExit as end:
        # All is flushed and closed. What Python would tear down, the system takes back anyway, and
        # in a quarter of the time.
        os._exit(end.code if isinstance(end.code, int) else 1)


if __name__ == "__main__":
    main()
