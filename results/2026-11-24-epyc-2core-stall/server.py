"""An echo server that does nothing for the first 100 ms of every second: python3 server.py PORT"""

import socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
def talk(c):
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := c.recv(65536):
        into = time.monotonic() % 1
        if into < 0.1: time.sleep(0.1 - into)
        c.sendall(data)
while True: threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
