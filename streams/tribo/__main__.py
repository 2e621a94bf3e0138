"""`python -m tribo`."""

from tribo.cli import main

main()
