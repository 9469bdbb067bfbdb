import sys, typer
from outdial.cli.run import run
from outdial.cli.serve import serve
app = typer.Typer(); app.command()(run); app.command()(serve)
app()
