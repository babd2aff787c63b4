complete -c rwsgi -l paste -l paster -d 'Serve the application of a file of PasteDeploy' -r -f
complete -c rwsgi -l paste-global -d 'Set a variable for the file of --paste' -r -f
complete -c rwsgi -l preload -d 'Import the application once, before the children are forked' -r -f -a "auto\t''
on\t''
off\t''"
complete -c rwsgi -l import -d 'Also import this module' -r -f
complete -c rwsgi -l warmup -d 'Request this before the first child is forked' -r -f
complete -c rwsgi -l warmup-failures -d 'What comes of a request of --warmup that fails' -r -f -a "fail\t''
warn\t''"
complete -c rwsgi -l script-name -d 'Path under which the application is mounted' -r -F
complete -c rwsgi -l chdir -d 'Change to this folder before the application is imported' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -l python-path -d 'Also import from this folder' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -l python -d 'The Python interpreter, or the folder of a virtual environment' -r -F
complete -c rwsgi -l env -d 'Set a variable in the application\'s environment' -r -f
complete -c rwsgi -l env-file -d 'Set the variables that this file lists' -r -F
complete -c rwsgi -s p -l processes -d 'Children in the pool: a fixed number, or auto' -r -f -a "auto\t''"
complete -c rwsgi -s t -l threads -d 'Application threads of each child' -r -f
complete -c rwsgi -l mpm -d 'Keep a pool as Apache\'s prefork or worker does, with its defaults' -r -f -a "prefork\t''
worker\t''"
complete -c rwsgi -l start-servers -d 'Children of an elastic pool that are started at once' -r -f
complete -c rwsgi -l min-spare-servers -d 'Fewest idle threads of an elastic pool: with fewer, it grows' -r -f
complete -c rwsgi -l max-spare-servers -d 'Most idle threads of an elastic pool: with more, it shrinks' -r -f
complete -c rwsgi -l min-spare-threads -d 'The same as --min-spare-servers' -r -f
complete -c rwsgi -l max-spare-threads -d 'The same as --max-spare-servers' -r -f
complete -c rwsgi -l max-clients -l max-request-workers -d 'Most requests that an elastic pool runs at once' -r -f
complete -c rwsgi -l server-limit -d 'Most children that there can be without a restart' -r -f
complete -c rwsgi -l pool-policy -d 'How an elastic pool grows: without a snowball, or to Apache\'s letter' -r -f -a "safe\t''
apache\t''"
complete -c rwsgi -l memory-budget -d 'Memory that the server may use: the pool does not grow past it' -r -f -a "auto\t''
off\t''"
complete -c rwsgi -l stack-size -d 'Stack of each application thread' -r -f
complete -c rwsgi -l startup-timeout -d 'Time for the application to be loaded and the first child to be ready' -r -f
complete -c rwsgi -l shutdown-timeout -d 'Time for requests in flight to finish when a child retires or the server stops' -r -f
complete -c rwsgi -l shutdown-delay -d 'How long to serve on after TERM, before the server drains' -r -f
complete -c rwsgi -l max-requests-per-child -l max-requests -d 'Replace a child after so many requests' -r -f
complete -c rwsgi -l restart-interval -d 'Replace a child after this time' -r -f
complete -c rwsgi -l inactivity-timeout -d 'Replace a child that has had requests, and then none for this time' -r -f
complete -c rwsgi -l max-child-memory -d 'Replace a child with more memory of its own than this' -r -f
complete -c rwsgi -l touch-reload -d 'Reload when this file, or anything in this folder, changes' -r -F
complete -c rwsgi -l reload-include -d 'With --reload, reload also when one of these files changes' -r -f
complete -c rwsgi -s b -l bind -d 'Listen here: host:port, :port, [::1]:port, unix:PATH or fd://N' -r -f
complete -c rwsgi -l backlog -d 'Connections that the kernel holds until they are accepted' -r -f
complete -c rwsgi -l max-connections -d 'Connections open at once' -r -f
complete -c rwsgi -l http2 -d 'Serve HTTP/2 beside HTTP/1' -r -f -a "auto\t''
on\t''
off\t''"
complete -c rwsgi -l keep-alive -d 'How long a connection may stay idle between two requests' -r -f
complete -c rwsgi -l header-timeout -d 'Time for the head of a request to arrive' -r -f
complete -c rwsgi -l body-timeout -d 'Longest pause while the body of a request arrives' -r -f
complete -c rwsgi -l min-rate -d 'Slowest average rate of a body or response, in bytes a second' -r -f
complete -c rwsgi -l send-timeout -d 'How long a client may take nothing of its response' -r -f
complete -c rwsgi -l buffer-memory -d 'Memory for bodies, and for responses that wait for their clients' -r -f
complete -c rwsgi -l buffer-disk -d 'Disk space for bodies and responses that are too large for memory' -r -f
complete -c rwsgi -l buffer-dir -d 'Folder of these files' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -l queue-timeout -d 'How long a request waits for an application thread' -r -f
complete -c rwsgi -l limit-request-line -d 'Longest request line' -r -f
complete -c rwsgi -l limit-request-fields -d 'Most header fields of a request' -r -f
complete -c rwsgi -l limit-request-field-size -d 'Longest header field' -r -f
complete -c rwsgi -l limit-request-body -d 'Largest body of a request' -r -f
complete -c rwsgi -l max-queue -d 'Most requests that wait for an application thread' -r -f
complete -c rwsgi -l user -d 'The user that the application and the front run as' -r -f -a "(__fish_complete_users)"
complete -c rwsgi -l group -d 'The group that the application and the front run as' -r -f
complete -c rwsgi -l umask -d 'What the files that the server and the application make may not allow, in octal' -r -f
complete -c rwsgi -l access-log -d 'Write a line for each request to this file, or to standard output (-)' -r -F
complete -c rwsgi -l access-log-format -d 'common, combined, json, or the directives of Apache\'s LogFormat' -r -f
complete -c rwsgi -l log-level -d 'Least severe level that is logged: error, warn, info, debug or trace' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c rwsgi -l log-format -d 'What lines of the log look like: text or json' -r -f -a "text\t''
json\t''"
complete -c rwsgi -l health -d 'Tell at this path whether the server is ready, without Python' -r -f
complete -c rwsgi -l control -d 'The socket at which rwsgictl asks the server' -r -F
complete -c rwsgi -l control-group -d 'A group that may use rwsgictl, beside the server\'s own user and root' -r -f
complete -c rwsgi -l pid-file -d 'Write the supervisor\'s pid to this file' -r -F
complete -c rwsgi -l config -d 'Read options from this file instead of ./rwsgi.toml' -r -F
complete -c rwsgi -l reload -d 'Reload when a module of the application changes'
complete -c rwsgi -l check -d 'Load the application, report, and exit'
complete -c rwsgi -l print-config -d 'Print every option with where its value comes from, and exit'
complete -c rwsgi -s V -l version -d 'Print the version and exit'
complete -c rwsgi -s h -l help -d 'Print this and exit'
