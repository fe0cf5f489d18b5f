"""`python -m daq` is the command `daq`."""

from daq.cli import main

if __name__ == "__main__":
    main()
