function __engine_completion
    set -l program (commandline -opc)[1]
    set -l words (commandline -cp | string collect)
    for line in (env COMP_WORDS=$words COMP_CWORD=(commandline -ct | string collect) _ENGINE_COMPLETE=fish_complete $program 2>/dev/null)
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case dir
                __fish_complete_directories (commandline -ct)
            case file
                __fish_complete_path (commandline -ct)
            case plain part
                echo -- $parts[2]
        end
    end
end
complete --command engine --no-files --arguments '(__engine_completion)'
