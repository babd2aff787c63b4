# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rwsgictl_global_optspecs
    string join \n control= h/help V/version
end

function __fish_rwsgictl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rwsgictl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rwsgictl_using_subcommand
    set -l cmd (__fish_rwsgictl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rwsgictl -n "__fish_rwsgictl_needs_command" -l control -d 'the server\'s control socket; without it, the one in the runtime folder ($RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR, /run/rwsgi or /tmp/rwsgi-UID)' -r -F
complete -c rwsgictl -n "__fish_rwsgictl_needs_command" -s h -l help -d 'print this and exit'
complete -c rwsgictl -n "__fish_rwsgictl_needs_command" -s V -l version -d 'print the version and exit'
complete -c rwsgictl -n "__fish_rwsgictl_needs_command" -f -a "status" -d 'what it consists of and how busy it is'
complete -c rwsgictl -n "__fish_rwsgictl_needs_command" -f -a "reload" -d 'load the application anew, and wait until that serves or has failed; standard error says what it waits for, and Ctrl-C leaves the reload alone'
complete -c rwsgictl -n "__fish_rwsgictl_needs_command" -f -a "scale" -d 'keep N processes (of an elastic pool: at most), until the next reload'
complete -c rwsgictl -n "__fish_rwsgictl_needs_command" -f -a "stop" -d 'let it finish the requests in flight and end; --now breaks them off'
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand status" -l control -d 'the server\'s control socket; without it, the one in the runtime folder ($RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR, /run/rwsgi or /tmp/rwsgi-UID)' -r -F
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand status" -l json
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand status" -s h -l help -d 'print this and exit'
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand status" -s V -l version -d 'print the version and exit'
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand reload" -l control -d 'the server\'s control socket; without it, the one in the runtime folder ($RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR, /run/rwsgi or /tmp/rwsgi-UID)' -r -F
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand reload" -s h -l help -d 'print this and exit'
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand reload" -s V -l version -d 'print the version and exit'
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand scale" -l control -d 'the server\'s control socket; without it, the one in the runtime folder ($RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR, /run/rwsgi or /tmp/rwsgi-UID)' -r -F
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand scale" -s h -l help -d 'print this and exit'
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand scale" -s V -l version -d 'print the version and exit'
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand stop" -l control -d 'the server\'s control socket; without it, the one in the runtime folder ($RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR, /run/rwsgi or /tmp/rwsgi-UID)' -r -F
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand stop" -l now
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand stop" -s h -l help -d 'print this and exit'
complete -c rwsgictl -n "__fish_rwsgictl_using_subcommand stop" -s V -l version -d 'print the version and exit'
