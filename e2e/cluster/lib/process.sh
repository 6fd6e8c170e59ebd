# Daemons: started detached, recorded as "pid start-time", ended by exactly that record. A pid alone
# may have been given to another process since; with its start time it is unique until reboot.

daemons=${daemons:-$cluster}
run_dir=$daemons/run
log_dir=$daemons/log

start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

alive() {
    local pid started
    read -r pid started 2>/dev/null <"$run_dir/$1.pid" || return 1
    [[ -n $started && $(start_time "$pid") == "$started" && $(process_state "$pid") != Z ]]
}
process_state() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f1; }

# start_daemon NAME COMMAND…   does nothing if it runs already
start_daemon() {
    local name=$1
    shift
    alive "$name" && return
    mkdir -p "$run_dir" "$log_dir"
    # Own session, no terminal, nothing of ours left open: it outlives this script, holds none of its locks, and
    # whoever reads our output through a pipe sees its end.
    ASTROMESH_DAEMONS=$daemons setsid "$@" </dev/null >>"$log_dir/$name.log" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
    local pid=$!
    echo "$pid $(start_time "$pid")" >"$run_dir/$name.pid"
    disown "$pid"
}

# stop_daemons SECONDS NAME…   asks all, waits, then kills what is left
stop_daemons() {
    local patience=$1 name pid deadline
    shift
    for name in "$@"; do
        if alive "$name"; then read -r pid _ <"$run_dir/$name.pid"; kill -TERM "$pid" 2>/dev/null || true; fi
    done
    deadline=$((SECONDS + patience))
    for name in "$@"; do
        while alive "$name" && ((SECONDS < deadline)); do sleep 0.1; done
        if alive "$name"; then read -r pid _ <"$run_dir/$name.pid"; kill -KILL "$pid" 2>/dev/null || true; fi
        while alive "$name"; do sleep 0.05; done
        rm -f "$run_dir/$name.pid"
    done
}

# wait_for SECONDS WHAT LOG COMMAND…   polls; on time-out shows the end of a log
wait_for() {
    local patience=$1 what=$2 log=$3 deadline=$((SECONDS + $1))
    shift 3
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            [[ -f $log_dir/$log.log ]] && tail -n 15 "$log_dir/$log.log" | sed "s/^/  $log: /" >&2
            die "$what not reached within $patience s" "logs: $log_dir" \
                "start afresh: e2e/cluster/down && e2e/cluster/up"
        fi
        sleep 0.2
    done
}
