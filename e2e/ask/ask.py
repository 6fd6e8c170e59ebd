"""Asks an agent over its WebSocket and prints the answer as it streams.

usage: ask.py WS_URL QUESTION      the token comes from the variable TOKEN, if it is set
"""

import json
import os
import sys

from websockets.sync.client import connect


def main(url: str, question: str) -> int:
    token = os.environ.get("TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    pieces = 0
    with connect(url, additional_headers=headers, open_timeout=10, proxy=None) as socket:
        socket.send(json.dumps({"query": question}))
        for text in socket:
            event = json.loads(text)
            if event["type"] == "token":
                pieces += 1
                print(event["content"], end="", flush=True)
            elif event["type"] == "error":
                print(f"\nerror: {event['error']['message']}", file=sys.stderr)
                return 1
            elif event["type"] == "done":
                usage = event["usage"]
                print(f"\n[{pieces} pieces, {usage['tokensIn']} tokens in, {usage['tokensOut']} out]")
                return 0
    print("the socket closed before the answer ended", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
