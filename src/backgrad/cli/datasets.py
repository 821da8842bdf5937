"""`backgrad datasets`: what can be attacked by name."""

import typer


def datasets() -> None:
    """List the bundled data sets, with licence and citation."""
    from ..datasets import list_datasets

    for entry in list_datasets():
        answers = "a regression" if entry.task == "regression" else f"{entry.n_classes} classes"
        size = f"{entry.n_samples} rows, {entry.n_features} features, {answers}"
        typer.secho(f"{entry.name}", bold=True, nl=False)
        typer.echo(f"  {size}")
        typer.echo(f"  {entry.description}")
        typer.echo(f"  Licence: {entry.licence}")
        typer.echo(f"  Source: {entry.source}")
        typer.echo(f"  Cite: {entry.citation}\n")
