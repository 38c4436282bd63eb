"""`python -m samclr`: the command line."""

from samclr.cli.main import main

main()
