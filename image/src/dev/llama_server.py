"""llama.cpp's server on loopback, out of the Python module xllamacpp."""

import argparse
import http.client
import os
import socket
import threading
import time

import xllamacpp

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", required=True, help="a GGUF file")
parser.add_argument("--alias", required=True, help="the name that the server gives it")
parser.add_argument("--port", required=True, type=int)
parser.add_argument("--threads", required=True, type=int)
parser.add_argument("--key-file", required=True, help="the key that is asked for")
options = parser.parse_args()

params = xllamacpp.CommonParams()
params.model.path = options.model
params.model_alias = {options.alias}
params.hostnames = ["127.0.0.1"]
params.port = options.port
params.cpuparams.n_threads = options.threads
params.cpuparams_batch.n_threads = options.threads
params.n_ctx = 8192
params.n_parallel = 1
params.cache_ram_mib = 256
with open(options.key_file, encoding="ascii") as file:
    params.api_keys = [file.read()]
params.ui = False
params.endpoint_slots = False
params.offline = True
# Read into memory, not mapped: only so can the weights lie in huge pages.
params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE

server = xllamacpp.Server(params)


def is_loaded():
    """Whether the server answers that it is well."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", options.port, timeout=5)
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


while not is_loaded():
    time.sleep(0.1)
# sd_notify(3): whoever waits for the model hears it from init, where init runs this.
if "NOTIFY_SOCKET" in os.environ:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"STATUS=loaded", os.environ["NOTIFY_SOCKET"])
threading.Event().wait()
