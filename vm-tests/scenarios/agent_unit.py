# topology: site
# core: yes
"""From inside its unit an agent reaches the broker's socket and no other; no key, no other user's files, no other process."""

start_all()
wait_for_appliance(appliance)

#: Sockets at which a helper that acts as root might listen, all stand-ins, the Nix daemon's included.
HELPERS = [
    "/run/helper/socket",
    "/nix/var/nix/daemon-socket/socket",
    "/srv/helper/socket",
    "/opt/helper/socket",
    "/data/helper/socket",
    "/var/lib/helper/socket",
    "/home/helper/socket",
    "/root/helper/socket",
    "/tmp/helper/socket",
    "/dev/shm/helper/socket",
]
LISTEN = """
import os, socket, sys, time
# The abstract one first: once the last of the others exists, all do.
kept = [socket.socket(socket.AF_UNIX)]
kept[-1].bind(chr(0) + "helper")
kept[-1].listen(64)
for path in sys.argv[1:]:
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    kept.append(socket.socket(socket.AF_UNIX))
    kept[-1].bind(path)
    os.chmod(path, 0o666)
    kept[-1].listen(64)
time.sleep(100000)
"""
#: Tries each of its arguments; prints a mapping of each to `reached` or to the error.
PROBE = '''
import json, os, socket, subprocess, sys

# The standard library cannot make system calls by number.
VM_READ = """my ($pid, $from) = map { $_ + 0 } @ARGV; my $to = " " x 8;
my $here = pack("QQ", unpack("Q", pack("P", $to)), 8); my $there = pack("QQ", $from, 8);
exit(syscall(310, $pid, $here, 1, $there, 1, 0) != 8);"""

def connects(path):
    socket.socket(socket.AF_UNIX).connect(path.replace("@", chr(0)))

def reads(path):
    with open(path, "rb") as file:
        if not file.read(1):
            raise OSError("nothing")

def has(path):
    os.stat(path)

def memory(pid):
    with open(f"/proc/{pid}/maps") as maps:
        start = next(int(line.split("-")[0], 16) for line in maps if " rw-p " in line)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        file.seek(start)
        if not file.read(1):
            raise OSError("nothing")

def vm_read(place):
    subprocess.run(["perl", "-e", VM_READ, *place.split(":")], check=True)

def signals(pid):
    os.kill(int(pid), 0)

found = {}
for word in sys.argv[1:]:
    what, argument = word.split("=", 1)
    try:
        {"connect": connects, "read": reads, "stat": has, "memory": memory, "vm_read": vm_read, "signal": signals}[what](argument)
        found[word] = "reached"
    except Exception as error:
        found[word] = repr(error)
print(json.dumps(found))
'''


def probe(words: set[str]) -> str:
    return f"python3 -c {shlex.quote(PROBE)} {' '.join(map(shlex.quote, sorted(words)))}"


def inside(agent: str, words: set[str]) -> dict[str, str]:
    """The result of each attempt inside an agent's unit."""
    status, output = in_unit(appliance, agent, probe(words))
    t.assertEqual(status, 0, output)
    return found(output, words)


def outside_of_it(user: str, words: set[str]) -> dict[str, str]:
    """The same as a user, outside any unit."""
    return found(appliance.succeed(f"cd /; runuser -u {user} -- {probe(words)}"), words)


def found(output: str, words: set[str]) -> dict[str, str]:
    """The output of a probe."""
    results = json.loads(output)
    t.assertEqual(set(results), words)
    return {word: str(result) for word, result in results.items()}


def places(pid: str) -> list[str]:
    """The attempts on a process: reading its memory by file and by system call, and sending signal 0."""
    start = appliance.succeed(f"grep -m 1 ' rw-p ' /proc/{pid}/maps").split("-")[0]
    return [f"memory={pid}", f"vm_read={pid}:{int(start, 16)}", f"signal={pid}"]


# Everything is set up first and probed at once in each place; the results are checked below, one barrier at a time.
HOMES = "/var/lib/ephyr-agents"
appliance.succeed(f"systemd-run --quiet --unit=helpers python3 -c {shlex.quote(LISTEN)} {' '.join(HELPERS)}")
appliance.succeed(
    # Their modes would allow an agent; the unit must not.
    "chmod 755 /root; chmod a+rw /run/ephyr-signer/signer.sock /run/systemd/private; "
    f"for agent in worker caller; do echo note > {HOMES}/$agent/note; chmod 644 {HOMES}/$agent/note; done; chmod 755 {HOMES}/caller"
)
AGENTS = ("worker", "caller")
BROKER = "connect=/run/ephyr/broker.sock"
SOCKETS = [f"connect={path}" for path in HELPERS]
ABSTRACT = "connect=@helper"
MANAGERS = ["connect=/run/ephyr-signer/signer.sock", "connect=/run/systemd/private", "connect=/run/dbus/system_bus_socket"]
FILES = [
    "read=/etc/ephyr/ca_key",
    "read=/run/credentials/ephyr-signer.service/ca_key",
    "read=/var/lib/ephyr-signer/journal",
    "read=/var/log/ephyr/audit.jsonl",
    "stat=/run/ephyr-broker",
]
POLICY = "read=/etc/ephyr/policy.yaml"
DAEMONS = [appliance.get_unit_property(f"ephyr-{name}.service", "MainPID") for name in ("broker", "signer")]
OF_DAEMONS = [word for pid in DAEMONS for word in places(pid)]
SEEN = [f"stat=/proc/{pid}" for pid in DAEMONS]
VICTIMS = {
    agent: places(start_process(appliance, f"victim-{agent}", f"--uid=ephyr-agent-{agent} sleep 100000")) for agent in AGENTS
}
NOTES = {agent: f"read={HOMES}/{agent}/note" for agent in AGENTS}
appliance.wait_for_open_unix_socket(HELPERS[-1], timeout=60)

EVERYTHING = {BROKER, *SOCKETS, ABSTRACT, *MANAGERS, *FILES, POLICY, *OF_DAEMONS, *SEEN, *NOTES.values()}
INSIDE = {agent: inside(agent, EVERYTHING | set(VICTIMS[agent])) for agent in AGENTS}
OUTSIDE = {f"ephyr-agent-{agent}": outside_of_it(f"ephyr-agent-{agent}", EVERYTHING | set(VICTIMS[agent])) for agent in AGENTS}
OUTSIDE["root"] = outside_of_it("root", EVERYTHING)


def reached(results: dict[str, str], words: list[str]) -> set[str]:
    """The attempts that succeeded."""
    return {word for word in words if results[word] == "reached"}


def only_outside(words: list[str], agent: str, user: str | None = None) -> None:
    """All attempts fail in the unit and succeed outside it, as the same user unless another is named."""
    t.assertEqual(reached(OUTSIDE[user or f"ephyr-agent-{agent}"], words), set(words))
    t.assertEqual(reached(INSIDE[agent], words), set(), agent)


with subtest("the broker's socket is there, in every agent's unit"):
    for agent in AGENTS:
        t.assertEqual(INSIDE[agent][BROKER], "reached")

with subtest("sockets of whoever acts as root are not, wherever they lie, though everyone else may use them"):
    for agent in AGENTS:
        only_outside(SOCKETS, agent)

with subtest("nor is an abstract one, which a network namespace or Landlock keeps apart"):
    for agent in AGENTS:
        only_outside([ABSTRACT], agent)

with subtest("signer, system manager and D-Bus: the unit has no way to them even where their modes would let it"):
    for agent in AGENTS:
        only_outside(MANAGERS, agent)
    appliance.succeed("runuser -u ephyr-agent-worker -- busctl --no-pager list > /dev/null")
    status, output = in_unit(appliance, "worker", "busctl --no-pager list")
    t.assertNotEqual(status, 0, output)

with subtest("CA key, signer's journal, tasks and audit log are root's and the daemons'"):
    for agent in AGENTS:
        only_outside(FILES, agent, user="root")
    t.assertEqual(INSIDE["worker"][POLICY], "reached")

with subtest("the daemons' processes are not to be seen, and their memory is closed"):
    for agent in AGENTS:
        only_outside(OF_DAEMONS, agent, user="root")
        only_outside(SEEN, agent)
        t.assertEqual(reached(OUTSIDE[f"ephyr-agent-{agent}"], OF_DAEMONS), set())

with subtest("a process of the same user outside of the unit can be neither read nor signalled from within"):
    for agent in AGENTS:
        only_outside(VICTIMS[agent], agent)

with subtest("another agent's files are not there, though their modes would let everyone read them"):
    only_outside([NOTES["caller"]], "worker")
    t.assertEqual(INSIDE["worker"][NOTES["worker"]], "reached")
    only_outside([NOTES["worker"]], "caller", user="root")
