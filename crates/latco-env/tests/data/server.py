"""A server of the protocol with every kind of bad day, for tests/process.rs. `arguments.bad` names
what goes wrong; each process appends its id to the file `arguments.pids`."""

import json
import os
import signal
import struct
import subprocess
import sys
import time

out = sys.stdout.buffer


def receive():
    prefix = sys.stdin.buffer.read(8)
    if len(prefix) < 8:
        sys.exit()
    header, payload = struct.unpack("<II", prefix)
    return json.loads(sys.stdin.buffer.read(header)), sys.stdin.buffer.read(payload)


def frame(header, payload=b""):
    header = header if isinstance(header, bytes) else json.dumps({"id": request["id"], **header}).encode()
    return struct.pack("<II", len(header), len(payload)) + header + payload


def send(data):
    out.write(data)
    out.flush()


def hang():
    while True:
        time.sleep(1)


def error(kind, **more):
    return frame({"error": {"kind": kind, "message": "so it is", **more}})


def bad_day(bad, told, picture):
    """What comes in place of the answer `told` with `picture`."""
    if bad == "garbage":
        send(b"Hello from a print of the simulator\n")
        hang()
    elif bad == "huge header":
        send(struct.pack("<II", 0xFFFFFFF0, 0))
    elif bad == "huge payload":
        send(struct.pack("<II", 2, 0xFFFFFFF0) + b"{}")
    elif bad == "hang":
        hang()
    elif bad == "deaf":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "1000"])
        note(child.pid)
        hang()
    elif bad == "exit":
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)
    elif bad == "long stderr":
        for line in range(20000):
            print("line", line, "x" * 50, file=sys.stderr)
        print("no newline " * 1000, end="", file=sys.stderr, flush=True)
        os._exit(4)
    elif bad == "deep crash":
        print("Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):", file=sys.stderr)
        for line in range(60):
            print(f'  File "deep.py", line {line} in recurse', file=sys.stderr)
        print("Extension modules: numpy (total: 1)", file=sys.stderr, flush=True)
        os._exit(4)
    elif bad == "question":
        print("a license key, please: ", end="", file=sys.stderr, flush=True)
        hang()
    elif bad == "segmentation fault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif bad == "half a frame":
        send(frame(told, picture)[:-7])
        os._exit(0)
    elif bad == "closed output":
        os.close(1)
        hang()
    elif bad == "small picture":
        send(frame(told, picture[1:]))
    elif bad == "large picture":
        send(frame(told, picture + b"\0"))
    elif bad == "NaN":
        send(frame({**told, "reward": float("nan")}, picture))
    elif bad == "NaN elsewhere":
        send(frame({**told, "distance": float("nan")}, picture))
    elif bad == "infinity":
        send(frame({**told, "reward": -float("inf")}, picture))
    elif bad == "null":
        send(frame({**told, "reward": None}, picture))
    elif bad == "huge reward":
        send(frame({**told, "reward": 1e300}, picture))
    elif bad == "no JSON":
        send(frame(b"\xff\xfe{", picture))
    elif bad == "no reward":
        send(frame({}, picture))
    elif bad == "no id":
        send(frame(json.dumps(told).encode(), picture))
    elif bad == "twice":
        send(frame(told, picture) * 2)
    elif bad == "flood":
        while True:
            send(frame(told, picture))
    elif bad == "text for error":
        send(frame({"error": "the arm is off"}))
    elif bad == "no message":
        send(frame({"error": {"kind": "exception"}}))
    elif bad == "no trace":
        send(error("exception", trace=None, install=None))
    elif bad == "exception":
        send(error("exception", trace="\n".join("x" * 10000 if line == 95 else f"line {line}" for line in range(100))))
    else:
        send(error(bad, install="thing", nearest="Thing-v1"))


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as status:
            return ") Z" not in status.read()
    except OSError:
        return False


def refuse_company():
    """Refuses to serve beside any process that was noted before, unless it ends in a moment."""
    with open(arguments["pids"]) as pids:
        before = pids.read().split()
    until = time.monotonic() + 2
    while any(map(is_running, before)):
        if time.monotonic() > until:
            send(error("exception"))
            hang()
        time.sleep(0.01)


def note(pid):
    if "pids" in arguments:
        with open(arguments["pids"], "a") as pids:
            pids.write(f"{pid}\n")


request, _ = receive()
arguments = request["arguments"]
if "alone" in arguments and os.path.exists(arguments["pids"]):
    refuse_company()
again = "pids" in arguments and os.path.exists(arguments["pids"])
note(os.getpid())
if "alone" in arguments:
    note(subprocess.Popen(["sleep", "1000"]).pid)
height, width = arguments.get("height", 8), arguments.get("width", 12)
channels, cameras = arguments.get("channels", 3), arguments.get("cameras", 1)
low, high = arguments.get("low", [-2.0, 0.0]), arguments.get("high", [2.0, 512.0])
description = {
    "protocol": arguments.get("protocol", 1),
    "action_low": low,
    "action_high": high,
    "height": height,
    "width": width,
    "channels": channels,
    "cameras": cameras,
    "time_limit": arguments.get("time_limit", 5) + (again and arguments.get("longer", 0)),
    "expert": "expert" in arguments,
    "reward_range": arguments.get("reward_range"),
}
bad, at = arguments.get("bad"), arguments.get("at", "step")
if at == "hello":
    bad_day(bad, description, b"")
send(frame(description))
steps = seed = 0
while True:
    request, action = receive()
    call = request["call"]
    if call == "close":
        break
    if call == "expert":
        if at == "expert":
            bad_day(bad, {}, b"")
            continue
        action = [float(entry) for entry in arguments["expert"]]
        send(frame({}, struct.pack(f"<{len(action)}f", *action)))
        continue
    if call == "reset":
        steps, seed = 0, request["seed"] % 251
    else:
        steps += 1
    # The first byte is the step, the second the seed, the rest alike for every camera's columns.
    row = bytes(column * cameras // width * 40 for column in range(width) for _ in range(channels))
    picture = bytearray(row * height)
    picture[0:2] = steps % 256, seed
    told = {}
    if call == "step":
        action = struct.unpack(f"<{len(low)}f", action)
        told = {
            "reward": sum(action),
            "terminated": steps == arguments.get("end"),
            "truncated": False,
            "success": steps == 2,
        }
    if bad and call == at and (call == "reset" or steps == 2):
        bad_day(bad, told, bytes(picture))
    else:
        send(frame(told, bytes(picture)))
