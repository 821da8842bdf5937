"""`python -m backgrad` is the command `backgrad`."""

from .cli.app import main

if __name__ == "__main__":
    main()
