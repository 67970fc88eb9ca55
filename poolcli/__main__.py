"""Run the command line by `python -m poolcli`."""

from poolcli.cli import main

if __name__ == "__main__":
    main()
