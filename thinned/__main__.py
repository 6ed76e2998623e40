"""`python -m thinned` is the command `thinned`."""

from thinned.service.cli.main import main

if __name__ == "__main__":
    main()
