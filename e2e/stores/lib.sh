# Shared by `start` and `stop`. Ids, ports and folders are those of the checkout's cluster.

stores=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
. "$stores/../cluster/lib/env.sh"
say_prefix=stores:
daemons=$state/stores   # pids, logs and data live here
. "$lib/process.sh"
