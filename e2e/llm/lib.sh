# Shared by `start`, `mock` and `stop`. Ids, ports and folders are those of the checkout's cluster.

llm=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
. "$llm/../cluster/lib/env.sh"
say_prefix=llm:
daemons=$state/llm   # pid and log live here
. "$lib/process.sh"
