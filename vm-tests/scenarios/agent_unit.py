# topology: site
"""From inside its unit an agent reaches the broker's socket and nobody else's; no key, no other's files, no other process."""

start_all()
wait_for_appliance(appliance)

#: Where a helper that acts as root might listen. The one of the Nix daemon is a stand-in, as are all others here.
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
kept = []
for path in sys.argv[1:]:
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    kept.append(socket.socket(socket.AF_UNIX))
    kept[-1].bind(path)
    os.chmod(path, 0o666)
    kept[-1].listen(64)
kept.append(socket.socket(socket.AF_UNIX))
kept[-1].bind(chr(0) + "helper")
kept[-1].listen(64)
time.sleep(100000)
"""
#: Tries what its arguments name; prints a mapping of each to `reached`, or to why not.
PROBE = '''
import json, os, socket, subprocess, sys

# Python as it is here cannot make calls of the kernel by number.
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


def probe(words: list[str]) -> str:
    return f"python3 -c {shlex.quote(PROBE)} {' '.join(map(shlex.quote, words))}"


def inside(agent: str, *words: str) -> dict[str, str]:
    """What becomes of each attempt inside of an agent's unit."""
    status, output = in_unit(appliance, agent, probe(list(words)))
    t.assertEqual(status, 0, output)
    found = json.loads(output)
    t.assertEqual(set(found), set(words))
    return {word: str(result) for word, result in found.items()}


def outside_of_it(user: str, *words: str) -> dict[str, str]:
    """The same as a user, outside of any unit."""
    found = json.loads(appliance.succeed(f"cd /; runuser -u {user} -- {probe(list(words))}"))
    return {word: str(result) for word, result in found.items()}


def only_outside(*words: str, agent: str = "worker", user: str | None = None) -> None:
    """Nothing of it succeeds in the unit, and all of it outside: as the same user, unless there is another."""
    reached = {word: "reached" for word in words}
    t.assertEqual(outside_of_it(user or f"ephyr-agent-{agent}", *words), reached)
    found = inside(agent, *words)
    t.assertEqual({word: result for word, result in found.items() if result == "reached"}, {})


def places(pid: str) -> list[str]:
    """What to try on a process: its memory by file and by call, and a signal that does nothing."""
    start = appliance.succeed(f"grep -m 1 ' rw-p ' /proc/{pid}/maps").split("-")[0]
    return [f"memory={pid}", f"vm_read={pid}:{int(start, 16)}", f"signal={pid}"]


with subtest("the broker's socket is there, in every agent's unit"):
    for agent in ("worker", "caller"):
        t.assertEqual(inside(agent, "connect=/run/ephyr/broker.sock"), {"connect=/run/ephyr/broker.sock": "reached"})

with subtest("sockets of whoever acts as root are not, wherever they lie, though everyone else may use them"):
    appliance.succeed(f"systemd-run --quiet --unit=helpers python3 -c {shlex.quote(LISTEN)} {' '.join(HELPERS)}")
    appliance.succeed("chmod 755 /root")
    appliance.wait_for_open_unix_socket(HELPERS[-1], timeout=60)
    sockets = [f"connect={path}" for path in HELPERS]
    only_outside(*sockets)
    only_outside(*sockets, agent="caller")

with subtest("nor is an abstract one, which a network namespace or Landlock keeps apart"):
    only_outside("connect=@helper")
    only_outside("connect=@helper", agent="caller")

with subtest("signer, system manager and D-Bus: the unit has no way to them even where their modes would let it"):
    appliance.succeed("chmod a+rw /run/ephyr-signer/signer.sock /run/systemd/private")
    for agent in ("worker", "caller"):
        only_outside(
            "connect=/run/ephyr-signer/signer.sock",
            "connect=/run/systemd/private",
            "connect=/run/dbus/system_bus_socket",
            agent=agent,
        )
    appliance.succeed("runuser -u ephyr-agent-worker -- busctl --no-pager list > /dev/null")
    status, output = in_unit(appliance, "worker", "busctl --no-pager list")
    t.assertNotEqual(status, 0, output)

with subtest("CA key, signer's journal, tasks and audit log are root's and the daemons'"):
    files = [
        "read=/etc/ephyr/ca_key",
        "read=/run/credentials/ephyr-signer.service/ca_key",
        "read=/var/lib/ephyr-signer/journal",
        "read=/var/log/ephyr/audit.jsonl",
        "stat=/run/ephyr-broker",
    ]
    for agent in ("worker", "caller"):
        only_outside(*files, agent=agent, user="root")
    t.assertEqual(inside("worker", "read=/etc/ephyr/policy.yaml"), {"read=/etc/ephyr/policy.yaml": "reached"})

with subtest("the daemons' processes are not to be seen, and their memory is closed"):
    for unit in ("ephyr-broker.service", "ephyr-signer.service"):
        pid = appliance.get_unit_property(unit, "MainPID")
        only_outside(*places(pid), user="root")
        only_outside(f"stat=/proc/{pid}")
        t.assertNotIn("reached", outside_of_it("ephyr-agent-worker", *places(pid)).values())

with subtest("a process of the same user outside of the unit can be neither read nor signalled from within"):
    for agent in ("worker", "caller"):
        appliance.succeed(f"systemd-run --quiet --unit=victim-{agent} --uid=ephyr-agent-{agent} sleep 1000")
        pid = appliance.get_unit_property(f"victim-{agent}.service", "MainPID")
        only_outside(*places(pid), agent=agent)

with subtest("another agent's files are not there, though their modes would let everyone read them"):
    appliance.succeed(
        "echo secret > /var/lib/ephyr-agents/caller/note; chmod 755 /var/lib/ephyr-agents/caller; "
        "chmod 644 /var/lib/ephyr-agents/caller/note; echo own > /var/lib/ephyr-agents/worker/note; chmod 644 /var/lib/ephyr-agents/worker/note"
    )
    only_outside("read=/var/lib/ephyr-agents/caller/note")
    own = "read=/var/lib/ephyr-agents/worker/note"
    t.assertEqual(inside("worker", own), {own: "reached"})
    only_outside(own, agent="caller", user="root")
