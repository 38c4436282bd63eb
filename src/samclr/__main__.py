"""`python -m samclr`: the command line."""

from samclr.cli.main import main

if __name__ == "__main__":
    main()
