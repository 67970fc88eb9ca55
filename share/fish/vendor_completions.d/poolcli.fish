function __poolcli_answers
    # Both completions below ask for the same line.
    set -l line (commandline -cp | string collect)
    if test "$line" != "$__poolcli_line"
        set -l program (commandline -opc)[1]
        set -g __poolcli_line $line
        set -g __poolcli_found (env COMP_LINE=$line _POOLCLI_COMPLETE=fish_complete \
            $program 2>/dev/null)
    end
    string split -- \n $__poolcli_found
end
function __poolcli_words
    for answer in (__poolcli_answers)
        set -l part (string split \t -- $answer)
        switch $part[1]
            case dir
                set -l token (commandline -ct)
                set -l option (string match -r -- '^--[^=]*=' $token)
                set -l path (string replace -r -- '^--[^=]*=' '' $token)
                __fish_complete_directories $path | string replace -r -- '^' "$option"
            case plain
                printf '%s\t%s\n' $part[2] $part[3]
        end
    end
end
complete -c poolcli -f -a '(__poolcli_words)'
complete -c poolcli -F -n '__poolcli_answers | string match -q -r -- "^file\t"'
