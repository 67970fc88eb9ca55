"""Complete command lines in shells: their scripts, and the answers to these.

A script asks ``poolcli`` itself: it sets ``_POOLCLI_COMPLETE`` to the name of the shell and
``_complete``, and ``COMP_LINE`` to the line up to the cursor. Each answer is one line: its kind
("file" or "dir" lets the shell complete a path, "plain" is a word), the word, and what it means,
separated by tabs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from poolcli.errors import PoolError

VARIABLE: Final = "_POOLCLI_COMPLETE"

BASH: Final = """\
_poolcli() {
  local kind word about
  COMPREPLY=()
  while IFS=$'\\t' read -r kind word about; do
    case $kind in
      file) compopt -o bashdefault -o default ;;
      dir) compopt -o dirnames ;;
      *) COMPREPLY+=("$word"); [[ $word == *= ]] && compopt -o nospace ;;
    esac
  done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" _POOLCLI_COMPLETE=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _poolcli poolcli
"""

ZSH: Final = """\
#compdef poolcli
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
_poolcli() {
  local kind word about line="${(j: :)words[1,CURRENT]}"
  local -a described
  while IFS=$'\\t' read -r kind word about; do
    case $kind in
      file) compset -P '--*='; _files ;;
      dir) compset -P '--*='; _files -/ ;;
      *) if [[ $word == *= ]]; then compadd -S '' -- $word
         else described+=("${word//:/\\\\:}${about:+:$about}"); fi ;;
    esac
  done < <(COMP_LINE=$line _POOLCLI_COMPLETE=zsh_complete ${(Q)words[1]} 2>/dev/null)
  (( $#described )) && _describe poolcli described
}
if [[ $funcstack[1] == _poolcli ]]; then _poolcli "$@"; else compdef _poolcli poolcli; fi
"""

FISH: Final = """\
function __poolcli_answers
    # Both completions below ask for the same line.
    set -l line (commandline -cp | string collect)
    if test "$line" != "$__poolcli_line"
        set -l program (commandline -opc)[1]
        set -g __poolcli_line $line
        set -g __poolcli_found (env COMP_LINE=$line _POOLCLI_COMPLETE=fish_complete \\
            $program 2>/dev/null)
    end
    string split -- \\n $__poolcli_found
end
function __poolcli_words
    for answer in (__poolcli_answers)
        set -l part (string split \\t -- $answer)
        switch $part[1]
            case dir
                set -l token (commandline -ct)
                set -l option (string match -r -- '^--[^=]*=' $token)
                set -l path (string replace -r -- '^--[^=]*=' '' $token)
                __fish_complete_directories $path | string replace -r -- '^' "$option"
            case plain
                printf '%s\\t%s\\n' $part[2] $part[3]
        end
    end
end
complete -c poolcli -f -a '(__poolcli_words)'
complete -c poolcli -F -n '__poolcli_answers | string match -q -r -- "^file\\t"'
"""

SCRIPTS: Final = {"bash": BASH, "zsh": ZSH, "fish": FISH}
BASH_BREAKS: Final = "=:"
"""Where bash breaks words, of which it completes only the last part."""


def completion(program: click.Group, instruction: str) -> str:
    """Return the script of a shell, or the answers to one.

    Args:
        program: the command whose options are completed.
        instruction: the name of the shell, and ``_source`` or ``_complete``.

    Raises:
        PoolError: it is no such instruction.
    """
    shell, _, what = instruction.partition("_")
    if shell not in SCRIPTS or what not in ("source", "complete"):
        shells = ", ".join(f"{one}_source" for one in SCRIPTS)
        raise PoolError(f"{VARIABLE} is {instruction!r}", f"give one of {shells}")
    if what == "source":
        return SCRIPTS[shell]
    line = os.environ.get("COMP_LINE", "")
    return "".join(f"{answer}\n" for answer in _answers(program, line, in_bash=shell == "bash"))


def _answers(program: click.Group, line: str, *, in_bash: bool) -> Iterator[str]:
    """Yield the answers for a line up to the cursor."""
    words = split_arg_string(line)
    is_begun = bool(words) and not (line[-1:].isspace() and line[-2:-1] != "\\")
    incomplete = words.pop() if is_begun else ""
    option, equals, _ = incomplete.partition("=")
    glued = f"{option}=" if equals and option.startswith("--") else ""
    kept = max(incomplete.rfind(one) for one in BASH_BREAKS) + 1 if in_bash else 0
    completer = ShellComplete(program, {}, "poolcli", VARIABLE)
    items: list[CompletionItem] = completer.get_completions(words[1:], incomplete)
    for item in items:
        word = f"{glued}{item.value}"[kept:] if item.type == "plain" else ""
        yield "\t".join((item.type, word, (item.help or "").partition("\n")[0]))
