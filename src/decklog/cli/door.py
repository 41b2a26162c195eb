"""The click command tree, built from `decklog.cli.spec`: help, errors, completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, get_completion_class

import decklog
from decklog import hub
from decklog.cli import COMPLETE, fast, output, tables
from decklog.cli import deck as decks
from decklog.cli.spec import COMMANDS, NOUNS, SAMPLE, Command, Option, noun
from decklog.errors import DecklogError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

OFFERED = 50
"""Newest sessions that completion offers when nothing is typed yet."""


def _type(o: Option) -> Any:
    if o.choices:
        return click.Choice(o.choices)
    if o.kind is int:  # counts, all of them
        return click.IntRange(min=0)
    return None if o.kind is bool else o.kind


class _WithWords(click.Command):
    """A command that passes the words behind ``--`` on to another program, and only these: else
    an option of that program could be taken for one of ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.allow_extra_args = True
        super().parse_args(ctx, args[:at])
        if ctx.args and not ctx.resilient_parsing:
            raise click.UsageError(
                f"{ctx.args[0]!r} stands before --: what is to be run comes behind it", ctx
            )
        ctx.params["rest"] = args[at + 1 :]
        return ctx.args

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- ...]"]


def _command(c: Command) -> click.Command:
    params: list[click.Parameter] = [
        click.Argument(
            [a.name],
            required=a.required,
            type=click.Choice(a.choices) if a.choices else None,
            nargs=-1 if a.many else 1,
            metavar=a.metavar,
            shell_complete=_COMPLETERS.get(a.name),
        )
        for a in c.arguments
    ]
    for o in c.options:
        names = [f"--{o.name}", *([f"-{o.short}"] if o.short else [])]
        params.append(
            click.Option(
                names,
                help=o.help,
                is_flag=o.kind is bool,
                default=None,
                multiple=o.many,
                type=_type(o),
                metavar="INTEGER" if o.kind is int else None,
                shell_complete=_COMPLETERS.get(o.name),
            )
        )

    def callback(**values: Any) -> int:
        context = click.get_current_context()
        sample = bool(context.find_root().params.get("sample"))
        return fast.bind(c, values, sample)()

    kind = _WithWords if c.rest else click.Command
    return kind(c.name, params=params, callback=callback, help=c.help)


def _deck(context: click.Context) -> hub.Decklog:
    """What is stored, as it is: a key press does not wait for a sync. Only the sample has to."""
    sample = bool(context.find_root().params.get("sample"))
    deck = hub.Decklog(decks.settings(sample, sync=sample))
    deck.refresh()
    return deck


def _agents(context: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    try:
        with _deck(context) as deck:
            return [CompletionItem(n) for n in deck.known_agents() if n.startswith(typed)]
    except DecklogError:
        return []


def _sessions(context: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Sessions by native id (by full id once the agent's name and a colon are typed), newest
    first. Ids and titles are foreign text: ids that are no plain word are left out."""
    name = "id" if ":" in typed else "native"
    try:
        with _deck(context) as deck:
            rows = deck.session_rows(limit=None if typed else OFFERED, subagents=bool(typed))
            return [
                CompletionItem(r[name], help=output.safe(tables.cut(_words(r), 60)))
                for r in rows
                if r[name].startswith(typed) and set(r[name]) <= _PLAIN
            ]
    except DecklogError:
        return []


_COMPLETERS: dict[str, Completer] = {
    "agent": _agents,
    "names": _agents,
    "session": _sessions,
    "subject": _sessions,
}
"""By the name of an option or argument."""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:")


def _words(row: dict[str, Any]) -> str:
    return " ".join(f"{row['agent']} {row['title']}".split())


def completion_script(shell: str) -> str:
    """What a shell has to evaluate once to complete our command line."""
    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"no completion for {shell!r}", hint="decklog completion --help")
    return found(tree(), {}, "decklog", COMPLETE).source()


def tree() -> click.Group:
    """The whole command tree."""

    def status() -> int:
        context = click.get_current_context()
        if context.invoked_subcommand is None:
            return fast.bind(COMMANDS[0], {}, bool(context.params.get("sample")))()
        return 0

    top = click.Group(
        "decklog",
        callback=lambda sample: status(),
        invoke_without_command=True,
        help="The deck log for AI coding agents: every session on this machine, counted right.",
        params=[
            click.Option([f"--{SAMPLE.name}"], is_flag=True, help=SAMPLE.help),
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                help="Show the version.",
                callback=_version,
            ),
        ],
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    for c in COMMANDS:
        top.add_command(_command(c))
    for name, help in NOUNS.items():
        top.add_command(click.Group(name, [_command(c) for c in noun(name)], help=help))
    return top


def _version(context: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"decklog {decklog.__version__}")
        context.exit()


def main(argv: list[str]) -> int:
    """Run through click; usage errors exit 2."""
    as_json = "--json" in argv
    try:
        result = tree().main(argv, prog_name="decklog", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "decklog"
        output.failure(UsageError(error.format_message(), hint=f"{path} --help"), as_json=as_json)
        return 2
    return result if isinstance(result, int) else 0
