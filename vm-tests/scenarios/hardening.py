# topology: site
"""What the units' directives promise is enforced: each is probed inside the unit, and the same probe succeeds outside."""

start_all()
wait_for_appliance(appliance)

#: A probe that is made by a call of the kernel: exits with 0 if it is let through.
CALLS = {
    "internet": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "packet": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "writable code": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "io_uring": "exit(libc.syscall(425, 0, 0) == -1 and ctypes.get_errno() == errno.EPERM)",
    "keyring": "exit(libc.syscall(250, 0, -3, 0, 0, 0) == -1 and ctypes.get_errno() == errno.EPERM)",
    "personality": "exit(libc.personality(0x0040000) == -1)",
}
CODE = (
    "import ctypes, errno, mmap, socket; libc = ctypes.CDLL(None, use_errno=True); "
    "ctypes.set_errno(0); "
)


def python(name: str) -> str:
    return f"python3 -c {shlex.quote(CODE + CALLS[name])}"


made: set[str] = set()


def probing(unit: str) -> str:
    """The unit that is the daemon's but for what it runs."""
    name = f"probe-{unit}"
    if unit not in made:
        made.add(unit)
        appliance.succeed(
            f"mkdir -p /run/probe /run/systemd/system/{name}.d; systemctl cat {unit} > /run/systemd/system/{name}; "
            "printf '%s\\n' '[Unit]' 'Requires=' 'Wants=' 'PropagatesReloadTo=' '[Service]' Type=oneshot ExecStart= ExecReload= "
            "'ExecStart=/bin/sh /run/probe/script' Restart=no WatchdogSec=0 Sockets= RuntimeDirectory= StandardError=journal "
            f"> /run/systemd/system/{name}.d/probe.conf; systemctl daemon-reload"
        )
    return name


def script(command: str) -> None:
    """What is run in the unit, or without it."""
    appliance.succeed(f"printf '%s\\n' {shlex.quote(command)} > /run/probe/script; chmod -R a+rX /run/probe")


def probe(unit: str, command: str) -> bool:
    """Whether a command succeeds in a unit that is the daemon's but for what it runs."""
    name = probing(unit)
    script(command)
    return appliance.execute(f"systemctl start {name}", timeout=120)[0] == 0


def without(unit: str, command: str) -> tuple[int, str]:
    """Its status as the same user without the unit, and what it says."""
    user = appliance.get_unit_property(unit, "User")
    script(command)
    return appliance.execute(f"runuser -u {user} -- /bin/sh /run/probe/script 2>&1", timeout=120)


def denies(unit: str, command: str) -> None:
    """The unit refuses it, and it is the unit that does."""
    status, output = without(unit, command)
    t.assertEqual(status, 0, f"`{command}` fails without {unit}, so that it proves nothing: {output}")
    t.assertFalse(probe(unit, command), f"{unit} lets `{command}` through")


SIGNER, BROKER = "ephyr-signer.service", "ephyr-broker.service"

with subtest("a probe that nothing forbids succeeds in the units"):
    t.assertTrue(probe(SIGNER, "test -r /etc/ephyr/policy.yaml"))
    t.assertTrue(probe(BROKER, "test -r /etc/ephyr/policy.yaml"))
    t.assertFalse(probe(SIGNER, "exit 1"))

with subtest("RestrictAddressFamilies: the signer opens no socket of the internet"):
    denies(SIGNER, python("internet"))
    t.assertTrue(probe(BROKER, python("internet")))
    denies(BROKER, python("packet"))

with subtest("PrivateNetwork: the signer sees no network card"):
    denies(SIGNER, "test $(ls /sys/class/net | grep -vc '^lo$') -gt 0")

with subtest("MemoryDenyWriteExecute: no memory becomes code"):
    denies(SIGNER, python("writable code"))
    denies(BROKER, python("writable code"))

with subtest("ProtectHome: homes are empty"):
    appliance.succeed("install -d -m 755 /home/someone; install -m 644 /dev/null /home/someone/file")
    denies(SIGNER, "test -e /home/someone/file")
    denies(BROKER, "test -e /home/someone/file")

with subtest("ProtectSystem: what the user could write is read-only"):
    appliance.succeed("install -d -m 777 /var/writable")
    denies(SIGNER, "mktemp -p /var/writable")
    denies(BROKER, "mktemp -p /var/writable")

with subtest("PrivateTmp: another's temporary files are not there"):
    appliance.succeed("echo x > /tmp/of-another; chmod 644 /tmp/of-another")
    denies(SIGNER, "test -e /tmp/of-another")
    denies(BROKER, "test -e /tmp/of-another")

with subtest("PrivateDevices: there is no disk"):
    denies(SIGNER, "test -b /dev/vda")
    denies(BROKER, "test -b /dev/vda")

with subtest("ProtectProc: other users' processes are not to be seen"):
    denies(SIGNER, "test -e /proc/1/status")
    denies(BROKER, "test -e /proc/1/status")

with subtest("RestrictNamespaces: no namespace in which one is root"):
    denies(SIGNER, "unshare --user --map-root-user true")
    denies(BROKER, "unshare --user --map-root-user true")

with subtest("SystemCallFilter: neither io_uring nor keyrings"):
    denies(SIGNER, python("io_uring"))
    denies(SIGNER, python("keyring"))
    denies(BROKER, python("io_uring"))

with subtest("LockPersonality: the address layout stays"):
    denies(SIGNER, python("personality"))

with subtest("RestrictSUIDSGID: no file lends its rights"):
    lends = "f=$(mktemp {0}/XXXXXX) && chmod u+s $f; s=$?; rm -f $f; exit $s"
    denies(SIGNER, lends.format("/var/lib/ephyr-signer"))
    denies(BROKER, lends.format("/var/lib/ephyr-broker"))

with subtest("NoNewPrivileges: set-user-ID programs give nothing"):
    denies(SIGNER, "grep -q 'NoNewPrivs:.0' /proc/self/status")
    denies(BROKER, "grep -q 'NoNewPrivs:.0' /proc/self/status")

with subtest("LoadCredential: the broker's unit does not see the signer's key"):
    t.assertTrue(probe(SIGNER, "test -s $CREDENTIALS_DIRECTORY/ca_key"))
    t.assertFalse(probe(BROKER, "cat /run/credentials/*/ca_key"))

with subtest("systemd's own reckoning: exposure is as low as it is said to be"):
    for unit, most in ((SIGNER, 0.8), (BROKER, 1.6), ("ephyr-agent-worker.service", 1.8)):
        text = appliance.succeed(f"systemd-analyze security --no-pager {unit} | tail -1")
        score = float(text.split(": ")[-1].split()[0])
        t.assertLessEqual(score, most, f"{unit}: {text}")
