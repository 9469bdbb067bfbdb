"""`python -m outdial` is `outdial`."""

from outdial.cli import main

main()
