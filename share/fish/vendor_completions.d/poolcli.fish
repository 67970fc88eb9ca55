function __poolcli_complete
    set -l program (commandline -opc)[1]
    set -l token (commandline -ct)
    set -l option (string match -r -- '^--[^=]*=' $token)
    set -l path (string replace -r -- '^--[^=]*=' '' $token)
    set -l line (commandline -cp | string collect)
    for answer in (env COMP_LINE=$line _POOLCLI_COMPLETE=fish_complete $program 2>/dev/null)
        set -l part (string split \t -- $answer)
        switch $part[1]
            case file
                __fish_complete_path $path | string replace -r -- '^' "$option"
            case dir
                __fish_complete_directories $path | string replace -r -- '^' "$option"
            case '*'
                printf '%s\t%s\n' $part[2] $part[3]
        end
    end
end
complete -c poolcli -f -a '(__poolcli_complete)'
