"""Runs a command on a pseudo-terminal, step by step, and says what became of it and of the terminal.

on_a_terminal.py STEPS COMMAND...; STEPS is JSON: ["expect", TEXT], ["send", TEXT], ["resize", COLUMNS, ROWS],
["signal", NUMBER], ["kill", PROCESS, SIGNAL].
Prints JSON: the exit status, whether the terminal is as it was, all output, and what was expected in vain.
"""
import fcntl, json, os, pty, re, select, struct, subprocess, sys, termios, time

LIMIT = 60.0
master, slave = pty.openpty()


def resize(columns, rows):
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


resize(100, 20)
before = termios.tcgetattr(slave)
child = subprocess.Popen(
    sys.argv[2:],
    stdin=slave, stdout=slave, stderr=slave,
    start_new_session=True,
    preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
)
output, seen = b"", 0


def read(seconds):
    global output
    if select.select([master], [], [], seconds)[0]:
        output += os.read(master, 65536)


def shown():
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output[seen:].decode(errors="replace"))


vain = None
for step in json.loads(sys.argv[1]):
    if step[0] == "expect":
        end = time.monotonic() + LIMIT
        while step[1] not in shown():
            if time.monotonic() > end or child.poll() is not None:
                vain = step[1]
                break
            read(0.1)
    else:
        seen = len(output)
        if step[0] == "send":
            os.write(master, step[1].encode())
        elif step[0] == "resize":
            resize(step[1], step[2])
        elif step[0] == "signal":
            os.kill(child.pid, step[1])
        elif step[0] == "kill":
            os.kill(step[1], step[2])
    if vain:
        break
if vain and child.poll() is None:
    child.kill()
end = time.monotonic() + LIMIT
while child.poll() is None and time.monotonic() < end:
    read(0.1)
read(0.1)
restored = before == termios.tcgetattr(slave)
if child.poll() is None:
    child.kill()
    vain = "the end"
print(json.dumps({"status": child.wait(), "restored": restored, "output": output.decode(errors="replace"), "vain": vain}))
