# topology: site
"""What the units' directives promise is enforced: each is probed inside the unit, and the same probe succeeds outside."""

start_all()
wait_for_appliance(appliance)

SIGNER, BROKER, GUARD = "ephyr-signer.service", "ephyr-broker.service", "ephyr-netguard.service"
#: Segments of shared memory are known by numbers.
SHARED = 4711


def python(code: str) -> str:
    """A probe that is made by a call of the kernel: exits with 0 if it is let through."""
    head = "import ctypes, errno, mmap, socket; libc = ctypes.CDLL(None, use_errno=True); ctypes.set_errno(0); "
    return f"python3 -c {shlex.quote(head + code)}"


def call(*words: object) -> str:
    """The same, for a call that filters answer with EPERM before the kernel looks at it."""
    return python(f"exit(libc.syscall({', '.join(map(str, words))}) == -1 and ctypes.get_errno() == errno.EPERM)")


INTERNET = python("socket.socket(socket.AF_INET, socket.SOCK_DGRAM)")
NETLINK = python("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)")
CODE = python("mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)")
LENDS = "f=$(mktemp -p {0}) && chmod u+s $f; s=$?; rm -f $f; exit $s"
#: What every unit refuses.
ALWAYS = {
    "MemoryDenyWriteExecute": CODE,
    "ProtectHome": "test -e /home/someone/file",
    "ProtectSystem": "mktemp -p /var/writable",
    "PrivateTmp": "test -e /tmp/of-another",
    "PrivateDevices": "test -b /dev/vda",
    "ProtectProc": "test -e /proc/1/status",
    "ProcSubset": "test -e /proc/uptime",
    "ProtectKernelModules": "ls /usr/lib/modules",
    "PrivateIPC": python(f"exit(libc.shmget({SHARED}, 0, 0) == -1)"),
    "RestrictNamespaces": "unshare --user --map-root-user true",
    "SystemCallFilter, io_uring": call(425, 0, 0),
    "SystemCallFilter, keyrings": call(250, 0, -3, 0, 0, 0),
    "LockPersonality": python("exit(libc.personality(0x0040000) == -1)"),
    "NoNewPrivileges": "grep -q 'NoNewPrivs:.0' /proc/self/status",
    "LimitCORE": "test $(ulimit -H -c) != 0",
    "UMask": "test $(umask) != 0077",
}
#: What each refuses besides.
PROBES = {
    SIGNER: {
        **ALWAYS,
        "RestrictAddressFamilies": INTERNET,
        "PrivateNetwork": python("import os; exit(os.listdir('/sys/class/net') == ['lo'])"),
        "CapabilityBoundingSet": "! grep -q 'CapBnd:.0000000000000000' /proc/self/status",
        "RestrictSUIDSGID": LENDS.format("/var/lib/ephyr-signer"),
        "SystemCallFilter, asynchronous I/O": call(206, 1, 0),
        # The last one: what it has begun stands in the way of more for a second.
        "TasksMax": "for n in 1 2 3 4 5 6; do sleep 1 & done; wait",
    },
    BROKER: {
        **ALWAYS,
        "RestrictAddressFamilies": NETLINK,
        "CapabilityBoundingSet": "! grep -q 'CapBnd:.0000000000000000' /proc/self/status",
        "RestrictSUIDSGID": LENDS.format("/var/lib/ephyr-broker"),
        "IPAddressDeny": python("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('224.0.0.9', 7001))"),
        "SocketBindDeny": python("socket.socket(socket.AF_INET).bind(('127.0.0.1', 7777))"),
    },
    GUARD: {
        **ALWAYS,
        "RestrictAddressFamilies": INTERNET,
        "CapabilityBoundingSet": "grep -q 'CapBnd:.*[1-9a-f].*[1-9a-f]' /proc/self/status",
    },
}
#: What is let through in each, so that a refusal is none of the unit's not running at all.
ALLOWED = {
    SIGNER: {"the policy": "test -r /etc/ephyr/policy.yaml", "its key": "test -s $CREDENTIALS_DIRECTORY/ca_key"},
    BROKER: {"the policy": "test -r /etc/ephyr/policy.yaml", "internet": INTERNET},
    GUARD: {"the policy": "test -r /etc/ephyr/policy.yaml", "netlink": NETLINK, "tables": "nft list tables"},
}

appliance.succeed(
    "install -d -m 755 /home/someone /run/probe; install -m 644 /dev/null /home/someone/file; install -d -m 777 /var/writable; "
    "echo x > /tmp/of-another; chmod 644 /tmp/of-another; mkdir -p /usr/lib/modules; "
    + python(f"exit(libc.shmget({SHARED}, 4096, 0o1666) == -1)")
)


def results(unit: str) -> tuple[dict[str, bool], dict[str, bool]]:
    """What becomes of a unit's probes inside of it, and as the same user outside: what succeeds."""
    probes = {**ALLOWED[unit], **PROBES[unit]}
    lines = [
        f"( {command} ) > /dev/null 2>&1 && echo {shlex.quote(f'+{name}')} || echo {shlex.quote(f'-{name}')}"
        for name, command in probes.items()
    ]
    text = shlex.quote("\n".join((*lines, "exit 0", "")))
    probe = f"probe-{unit}"
    appliance.succeed(
        f"printf %s {text} > /run/probe/script; chmod 644 /run/probe/script; rm -f /run/probe/inside; "
        f"mkdir -p /run/systemd/system/{probe}.d; systemctl cat {unit} > /run/systemd/system/{probe}; "
        "printf '%s\\n' '[Unit]' 'Requires=' 'Wants=' 'PropagatesReloadTo=' '[Service]' Type=oneshot ExecStart= ExecStartPost= ExecReload= "
        "'ExecStart=/bin/sh /run/probe/script' Restart=no WatchdogSec=0 Sockets= RuntimeDirectory= "
        f"StandardOutput=truncate:/run/probe/inside > /run/systemd/system/{probe}.d/probe.conf; "
        f"systemctl daemon-reload; systemctl start {probe}",
        timeout=300,
    )
    user = appliance.get_unit_property(unit, "User")
    outside_of_it = appliance.succeed(f"cd /; runuser -u {user} -- /bin/sh /run/probe/script", timeout=300)
    found = []
    for said in (appliance.succeed("cat /run/probe/inside"), outside_of_it):
        found.append({line[1:]: line.startswith("+") for line in said.splitlines()})
        t.assertEqual(set(found[-1]), set(probes), said)
    return found[0], found[1]


INSIDE: dict[str, dict[str, bool]] = {}
OUTSIDE: dict[str, dict[str, bool]] = {}

with subtest("what nothing forbids succeeds in the units"):
    for unit, allowed in ALLOWED.items():
        INSIDE[unit], OUTSIDE[unit] = results(unit)
        t.assertEqual({name for name in allowed if not INSIDE[unit][name]}, set(), unit)

for directive in dict.fromkeys(name for probes in PROBES.values() for name in probes):
    # Refused in each unit that has it, and not to the same user outside.
    with subtest(directive):
        units = {unit for unit, probes in PROBES.items() if directive in probes}
        t.assertEqual({unit for unit in units if OUTSIDE[unit][directive]}, units, "outside")
        t.assertEqual({unit for unit in units if INSIDE[unit][directive]}, set(), "inside")

with subtest("the signer's credential is root's to see, and no other unit's"):
    appliance.succeed("cat /run/credentials/ephyr-signer.service/ca_key > /dev/null")
    appliance.fail("cd /; runuser -u ephyr-broker -- cat /run/credentials/ephyr-signer.service/ca_key")

with subtest("systemd's own reckoning: exposure is as low as it is said to be"):
    for unit, most in ((SIGNER, 0.8), (BROKER, 1.6), (GUARD, 1.8), ("ephyr-agent-worker.service", 1.8)):
        text = appliance.succeed(f"systemd-analyze security --no-pager {unit} | tail -1")
        score = float(text.split(": ")[-1].split()[0])
        t.assertLessEqual(score, most, f"{unit}: {text}")
