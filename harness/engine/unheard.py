"""Imported by the fork server before all else: nobody's signal ends it before its run.

An interrupt reaches every process of a terminal, and whoever ends a batch job signals all of
its. What the server imports next takes seconds, in which Python would end with a traceback.
"""

import signal

for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, signal.SIG_IGN)
