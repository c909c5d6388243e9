"""The process that serves the workers' TCPStore on node 0.

A process of its own, forked from the warm fork server: pid 1 never imports torch, so it is up at once, small, and the
last that the kernel would kill for want of memory. The listening socket is made by the agent, which so knows the port
before the server runs, and decides where it listens: on loopback alone, see ``store_lines``.
"""

from __future__ import annotations

import os
import signal
import socket
import threading

from thunderhead_agent.linux import die_with_parent, name_process


def keep_store(listener: socket.socket) -> None:
    """Serve until killed."""
    die_with_parent()
    os.setpgid(0, 0)
    name_process("store")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from torch._C._distributed_c10d import TCPStore

    host, port = listener.getsockname()
    # The store takes the descriptor over; it must not be closed a second time by the socket object.
    store = TCPStore(host, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
    threading.Event().wait()
    del store
