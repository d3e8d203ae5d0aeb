# topology: site
"""The units' directives are enforced: each probe fails inside the unit and succeeds outside."""

start_all()
wait_for_appliance(appliance)

SIGNER, BROKER, GUARD = "ephyr-signer.service", "ephyr-broker.service", "ephyr-netguard.service"
#: Keys of shared memory segments are numbers.
SHARED = 4711


#: Tries each probe of its argument and prints whether it succeeded. Each has a process of its own, so that none affects the
#: next.
PROBE = """
import ctypes, errno, json, mmap, os, resource, socket, subprocess, sys, tempfile

libc = ctypes.CDLL(None, use_errno=True)


def call(*words):
    # Filters return EPERM before the kernel checks the call's arguments.
    ctypes.set_errno(0)
    return libc.syscall(*words) != -1 or ctypes.get_errno() != errno.EPERM


def run(*words):
    return subprocess.run(words).returncode == 0


def status(key):
    with open("/proc/self/status") as lines:
        return next(line.split()[1] for line in lines if line.startswith(key + ":"))


def lends(directory):
    file, path = tempfile.mkstemp(dir=directory)
    try:
        os.fchmod(file, 0o4700)
        return True
    finally:
        os.unlink(path)


def sends(*address):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", address)
    return True


def listens(*address):
    socket.socket(socket.AF_INET).bind(address)
    return True


def six_more():
    # All start at once and wait for the end of this one.
    reader, writer = os.pipe()
    for _ in range(6):
        if os.fork() == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    return True


def umask():
    return os.umask(0o077)


def attempt(code):
    try:
        return bool(eval(code))
    except Exception:
        return False


found = {}
for name, code in json.loads(sys.argv[1]).items():
    reader, writer = os.pipe()
    try:
        child = os.fork()
    except OSError:
        child = None
    if child == 0:
        os.dup2(os.open("/dev/null", os.O_RDWR), 1)
        os.dup2(1, 2)
        os.write(writer, b"+" if attempt(code) else b"-")
        os._exit(0)
    os.close(writer)
    found[name] = os.read(reader, 1) == b"+"
    os.close(reader)
    if child is not None:
        os.waitpid(child, 0)
print(json.dumps(found))
"""
INTERNET = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
NETLINK = "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"
#: Probes that fail in every unit.
ALWAYS = {
    "MemoryDenyWriteExecute": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "ProtectHome": "os.path.exists('/home/someone/file')",
    "ProtectSystem": "tempfile.mkstemp(dir='/var/writable')",
    "PrivateTmp": "os.path.exists('/tmp/of-another')",
    "PrivateDevices": "os.path.exists('/dev/vda')",
    "ProtectProc": "os.path.exists('/proc/1/status')",
    "ProcSubset": "os.path.exists('/proc/uptime')",
    "ProtectKernelModules": "os.listdir('/usr/lib/modules') is not None",
    "PrivateIPC": f"libc.shmget({SHARED}, 0, 0) != -1",
    "RestrictNamespaces": "run('unshare', '--user', '--map-root-user', 'true')",
    "SystemCallFilter, io_uring": "call(425, 0, 0)",
    "SystemCallFilter, keyrings": "call(250, 0, -3, 0, 0, 0)",
    "LockPersonality": "libc.personality(0x0040000) != -1",
    "NoNewPrivileges": "status('NoNewPrivs') == '0'",
    "LimitCORE": "resource.getrlimit(resource.RLIMIT_CORE)[1] != 0",
    "UMask": "umask() != 0o077",
}
#: Further probes that fail in each unit.
PROBES = {
    SIGNER: {
        **ALWAYS,
        "RestrictAddressFamilies": INTERNET,
        "PrivateNetwork": "os.listdir('/sys/class/net') != ['lo']",
        "CapabilityBoundingSet": "int(status('CapBnd'), 16) != 0",
        "RestrictSUIDSGID": "lends('/var/lib/ephyr-signer')",
        "SystemCallFilter, asynchronous I/O": "call(206, 1, 0)",
        "TasksMax": "six_more()",
    },
    BROKER: {
        **ALWAYS,
        "RestrictAddressFamilies": NETLINK,
        "CapabilityBoundingSet": "int(status('CapBnd'), 16) != 0",
        "RestrictSUIDSGID": "lends('/var/log/ephyr')",
        "IPAddressDeny": "sends('224.0.0.9', 7001)",
        "SocketBindDeny": "listens('127.0.0.1', 7777)",
    },
    GUARD: {
        **ALWAYS,
        "RestrictAddressFamilies": INTERNET,
        "CapabilityBoundingSet": "int(status('CapBnd'), 16).bit_count() > 1",
    },
}
#: Probes that succeed in each unit, so that a failure does not mean that the unit does not run.
POLICY = "open('/etc/ephyr/policy.yaml')"
ALLOWED = {
    SIGNER: {"the policy": POLICY, "its key": "os.path.getsize(os.environ['CREDENTIALS_DIRECTORY'] + '/ca_key')"},
    BROKER: {"the policy": POLICY, "internet": INTERNET},
    GUARD: {"the policy": POLICY, "netlink": NETLINK, "tables": "run('nft', 'list', 'tables')"},
}
UNITS = list(PROBES)

appliance.succeed(
    "install -d -m 755 /home/someone /run/probe; install -m 644 /dev/null /home/someone/file; install -d -m 777 /var/writable; "
    "echo x > /tmp/of-another; chmod 644 /tmp/of-another; mkdir -p /usr/lib/modules; "
    f"python3 -c 'import ctypes; exit(ctypes.CDLL(None).shmget({SHARED}, 4096, 0o1666) == -1)'; "
    f"printf %s {shlex.quote(PROBE)} > /run/probe/probe.py; chmod 644 /run/probe/probe.py"
)


def probe(unit: str) -> str:
    """The command that runs a unit's probes."""
    return f"exec python3 /run/probe/probe.py {shlex.quote(json.dumps({**ALLOWED[unit], **PROBES[unit]}))}"


def results() -> tuple[dict[str, dict[str, bool]], dict[str, dict[str, bool]]]:
    """For each unit, the probes that succeed inside it, and outside it as the same user."""
    changed = ("[Unit]", "Requires=", "Wants=", "PropagatesReloadTo=", "[Service]", "Type=oneshot", "ExecStart=", "ExecStartPost=", "ExecReload=")
    inside: dict[str, dict[str, bool]] = {}
    outside_of_it: dict[str, dict[str, bool]] = {}
    for unit in UNITS:
        place = f"/run/systemd/system/probe-{unit}"
        more = (
            *changed,
            "ExecStart=/bin/sh /run/probe/" + unit,
            *("Restart=no", "WatchdogSec=0", "Sockets=", "RuntimeDirectory="),
            f"StandardOutput=truncate:/run/probe/inside-{unit}",
        )
        appliance.succeed(
            f"printf %s {shlex.quote(probe(unit))} > /run/probe/{unit}; mkdir -p {place}.d; systemctl cat {unit} > {place}; "
            f"printf '%s\\n' {' '.join(map(shlex.quote, more))} > {place}.d/probe.conf"
        )
    appliance.succeed("chmod 644 /run/probe/*; systemctl daemon-reload")
    for unit in UNITS:
        user = appliance.get_unit_property(unit, "User")
        said = appliance.succeed(
            f"systemctl start probe-{unit}; cat /run/probe/inside-{unit}; cd /; runuser -u {user} -- /bin/sh /run/probe/{unit}", timeout=600
        )
        inside[unit], outside_of_it[unit] = (json.loads(line) for line in said.splitlines())
    return inside, outside_of_it


with subtest("what nothing forbids succeeds in the units"):
    INSIDE, OUTSIDE = results()
    for unit, allowed in ALLOWED.items():
        t.assertEqual({name for name in allowed if not INSIDE[unit][name]}, set(), unit)

for directive in dict.fromkeys(name for probes in PROBES.values() for name in probes):
    # Fails in each unit that has the directive, and succeeds for the same user outside.
    with subtest(directive):
        units = {unit for unit, probes in PROBES.items() if directive in probes}
        t.assertEqual({unit for unit in units if OUTSIDE[unit][directive]}, units, "outside")
        t.assertEqual({unit for unit in units if INSIDE[unit][directive]}, set(), "inside")

with subtest("the signer's credential is root's to see, and no other unit's"):
    appliance.succeed("cat /run/credentials/ephyr-signer.service/ca_key > /dev/null")
    appliance.fail("cd /; runuser -u ephyr-broker -- cat /run/credentials/ephyr-signer.service/ca_key")

with subtest("systemd's own reckoning: exposure is as low as it is said to be"):
    bounds = {SIGNER: 0.8, BROKER: 1.6, GUARD: 1.8, "ephyr-agent-worker.service": 1.8}
    said = appliance.succeed(f"systemd-analyze security --no-pager {' '.join(bounds)} | grep 'Overall exposure level'")
    scores = {line.split(": ")[0].split()[-1]: float(line.split(": ")[1].split()[0]) for line in said.splitlines()}
    t.assertEqual(set(scores), set(bounds), said)
    t.assertEqual({unit for unit, score in scores.items() if score > bounds[unit]}, set(), said)
