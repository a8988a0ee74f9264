"""Brings up hosts by Mininet on a Linux bridge and says so once the last answered the first. NODES

For Debian's own python3, which has Debian's mininet.
"""

import sys

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import SingleSwitchTopo

setLogLevel("critical")
net = Mininet(topo=SingleSwitchTopo(int(sys.argv[1])), switch=LinuxBridge, controller=None)
net.start()
try:
    net.hosts[0].cmd(f"ping -c 1 -i 0.01 -w 20 {net.hosts[-1].IP()}")
    print("answered", flush=True)
    sys.stdin.read()
finally:
    net.stop()
