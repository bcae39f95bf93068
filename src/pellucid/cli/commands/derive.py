"""`pellucid derive`: one training step of a trained network in equations, with its numbers, each one checked."""

from __future__ import annotations

import time
from pathlib import Path

from pellucid.cli.command import Command, GroupedOption, NamedArgument
from pellucid.cli.session import Session
from pellucid.core.errors import OptionError, did_you_mean
from pellucid.core.language import text

FORMATS = (".html", ".tex", ".txt")
NOTATIONS = ("column", "row", "torch")


def _derive(session: Session, run: str, example: int, output: str | None, notation: str) -> None:
    ending = "" if output is None else Path(output).suffix.lower()
    if output is not None and ending not in FORMATS:
        raise OptionError(
            text("the output file is {path!r}", path=output),
            text("a name that ends in one of: {endings}", endings=list(FORMATS)),
            did_you_mean(ending, FORMATS),
        )
    if notation not in NOTATIONS:
        raise OptionError(
            text("notation {name!r}", name=notation), text("one of {names}", names=list(NOTATIONS)), did_you_mean(notation, NOTATIONS)
        )

    from pellucid.core.system import peak_memory_bytes
    from pellucid.training.derived import derive_run
    from pellucid.training.run import load
    from pellucid.training.summary import WORTH_SAYING, usage_sentence

    begun = time.perf_counter()
    made = derive_run(load(run), example, notation=notation)
    derivation = made.derivation
    if output is not None:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        if ending == ".html":
            derivation.to_html(output)
        elif ending == ".tex":
            derivation.to_latex(output)
        else:
            Path(output).write_text(derivation.to_text(), encoding="utf-8")
    check = derivation.check()
    seconds = time.perf_counter() - begun
    if seconds >= WORTH_SAYING:
        session.tell(text("it took: {usage}", usage=usage_sentence(seconds, peak_memory_bytes())))
    if session.json:
        session.write_json(
            {
                "run": run, "example": example, "identifier": made.example.identifier, "part": made.example.part, "output": output,
                "loss": float(derivation.loss.array.reshape(())), "equations": len(derivation.steps), "check": check.to_dict(),
            }
        )  # fmt: skip
        return
    for note in made.notes:
        session.err.line(str(note))
    if output is None:
        session.out.stream.write(derivation.to_text())
        return
    from pellucid.derivation.pages.text import one_line

    session.out.line(one_line(derivation))
    session.out.line(str(check).splitlines()[0])
    session.out.line(str(text("{count} equations are in {path}", count=len(derivation.steps), path=output)))


command = Command(
    "derive",
    _derive,
    [
        NamedArgument("run", value=text("RUN"), says=text("the folder of a run")),
        GroupedOption(
            "--example", type=int, default=0, says=text("the number of the sample in the run's data, from 0 (default: 0)"), group="data",
            value=text("INTEGER"),
        ),
        GroupedOption(
            "--output", says=text("write the page to this file; without it the equations are printed"), group="run",
            value=text("FILE.html|.tex|.txt"),
        ),
        GroupedOption(
            "--notation", default="column", group="run", value=text("NAME"),
            says=text("column: z = Wx + b (the default); row: XW + b; torch: XWᵀ + b, as the weights are stored"),
        ),
    ],
    word="推导",
    short=text("write one training step in equations, each one checked"),
    about=text(
        "Takes one example of the run's data through the trained network and writes every equation with its numbers: forward, loss, "
        "backward, update. Every result and every gradient is compared with PyTorch's."
    ),
    examples=(
        ("pellucid derive runs/iris-mlp", text("to read in the terminal")),
        ("pellucid derive runs/iris-mlp --example 12 --output derivation.html", text("a page to show")),
    ),
)  # fmt: skip
