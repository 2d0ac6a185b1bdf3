"""An echo client that shares nothing with ringload: prints the median round trip of one connection in nanoseconds.

python3 client.py HOST PORT SIZE SECONDS CORE

It asks, waits for the whole answer, and asks again. The clock is read right before the send and right after the last
receive, so that what the interpreter does between requests is in no figure.
"""

import os
import socket
import sys
import time

host, port, size, seconds, core = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
os.sched_setaffinity(0, {core})
connection = socket.create_connection((host, port))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
request, now, times = bytes(size), time.perf_counter_ns, []
end = now() + int(seconds * 1e9)
while not times or now() < end:
    sent = now()
    connection.sendall(request)
    left = size
    while left:
        answer = connection.recv(left)
        if not answer:
            sys.exit("the server ended the connection")
        left -= len(answer)
    times.append(now() - sent)
times.sort()
print(times[len(times) // 2])
