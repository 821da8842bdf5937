"""The `backgrad` command: its verbs, and how errors reach the user.

Exit codes: 0 done · 2 bad usage or bad input, in one sentence · 4 internal failure, with a log file ·
130 interrupted.
"""

import io
import sys
import traceback
from typing import Annotated

import typer

from .._version import __version__
from ..errors import InputError, NumericalError, ReversalError
from .attack import attack
from .audit import audit, check, gate, report
from .clean import NOTES as _CLEAN_NOTES
from .clean import clean
from .compiled import keep_compiled
from .curve import curve
from .datasets import datasets
from .defend import defend
from .output import write_log
from .reproduce import reproduce
from .study import study
from .transfer import transfer

BAD_INPUT, INTERNAL, INTERRUPTED = 2, 4, 130
# Verbs that keep each run as it ends, so that the same command goes on where it was stopped.
_KEEPING = {"audit", "study", "reproduce"}

app = typer.Typer(
    name="backgrad",
    help="How much damage can poisoned training rows do to a model, and how few rows does it take?",
    epilog="Start with: backgrad audit spambase57 --profile quick",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _flowing(text: str | None) -> str:
    """Return a docstring whose paragraphs are lines of their own, for the terminal to wrap."""
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


_ATTACK_NOTES = (
    "Default schedules (step × steps): logistic 0.5 × 1500, softmax 0.5 × 500, adaline 0.01 × 2000, svm 0.1 × 1000, "
    "mlp 0.1 × 400, ridge 0.1 × 1000; implicit trains to convergence instead.\n\n"
    "Example: backgrad attack spambase --learner mlp --feasible binary --out mlp"
)
_STUDY_NOTES = (
    r"A file may hold: {name: mine, datasets: \[spambase, breast-cancer], learners: \[logistic, mlp], "
    r"points: \[10, 20], splits: 5}. Lists may also have a line for each item, and every option of 'backgrad attack' "
    "that says who is attacked, and how, is a key: learners, strategies, goals, feasible, knowledge, steps and so on."
    "\n\nExample: backgrad study mine.yaml --workers 4"
)
app.command(
    help=_flowing(audit.__doc__), epilog="Example: backgrad audit mails.csv --target spam --limit 0.2 --at 0.05"
)(audit)
app.command(help=_flowing(check.__doc__), epilog="Example: backgrad check mails.csv --target spam")(check)
app.command(help=_flowing(gate.__doc__), epilog="Example: backgrad gate backgrad-audit --limit 0.2 --at 0.05")(gate)
app.command(help=_flowing(report.__doc__), epilog="Example: backgrad report backgrad-audit")(report)
app.command(help=_flowing(attack.__doc__), epilog=_ATTACK_NOTES)(attack)
app.command(
    help=_flowing(curve.__doc__),
    epilog="Example: backgrad curve spambase --fractions 0,0.05,0.1 --limit 0.3 --victim RandomForestClassifier",
)(curve)
app.command(help=_flowing(transfer.__doc__), epilog="Example: backgrad transfer spambase --surrogates logistic,mlp")(
    transfer
)
app.command(help=_flowing(study.__doc__), epilog=_STUDY_NOTES)(study)
app.command(help=_flowing(reproduce.__doc__), epilog="Example: backgrad reproduce figure2 --quick")(reproduce)
app.command(help=_flowing(clean.__doc__), epilog=_CLEAN_NOTES)(clean)
app.command(
    help=_flowing(defend.__doc__), epilog="Example: backgrad defend spambase --defences sphere,slab,knn-distance"
)(defend)
app.command(help=_flowing(datasets.__doc__))(datasets)


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"backgrad {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    del version
    keep_compiled()


def _say(message: str) -> None:
    """Print one sentence to standard error."""
    print(f"backgrad: {' '.join(message.split())}", file=sys.stderr)


def _is_usage_error(error: BaseException) -> bool:
    """Tell whether an exception is one of the option parser's own, whichever library it comes from."""
    return any(cls.__name__ == "ClickException" for cls in type(error).__mro__)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # results are not lost to a terminal that lacks a character
    try:
        code = app(arguments, standalone_mode=False)
    except ReversalError as error:  # of ours to mend
        code = _other(error, arguments)
    except (InputError, NumericalError) as error:
        _say(str(error))
        code = BAD_INPUT
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        code = _other(error, arguments)
    if code == INTERRUPTED:  # raised here, or turned into an exit code by the option parser
        kept = {*arguments[:1]} & _KEEPING
        again = "runs that were kept are not done anew" if kept else "it begins anew, where backgrad study goes on"
        _say(f"interrupted; no results were written. Run the same command again: {again}.")
    sys.exit(code if isinstance(code, int) else 0)


def _other(error: Exception, arguments: list[str]) -> int:
    """Report a usage error of the parser, or an error of ours with a log file; return the exit code."""
    name = type(error).__name__
    if name == "NoArgsIsHelpError":  # the help was printed already
        return BAD_INPUT
    if name == "Abort":
        return INTERRUPTED
    if _is_usage_error(error):
        message = getattr(error, "format_message", lambda: str(error))()
        verbs = [command.callback.__name__ for command in app.registered_commands if command.callback is not None]
        verb = next((f"{word} " for word in arguments[:1] if word in verbs), "")
        _say(f"{message.rstrip('.')}. Try 'backgrad {verb}--help'.")
        return BAD_INPUT
    _say(f"internal failure ({name}). {write_log(''.join(traceback.format_exception(error)))}")
    return INTERNAL
