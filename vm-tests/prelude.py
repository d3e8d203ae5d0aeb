# Helpers that run before every scenario, in both runners: actions of agents, the operator and a hostile broker.
import itertools
import json
import shlex
from collections.abc import Callable

KEYS = "/etc/ephyr-vm/keys"
#: A client without configuration or prompts.
SSH = (
    "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/root/known_hosts "
    "-o IdentitiesOnly=yes -o ConnectTimeout=600"
)


def as_agent(name: str, command: str) -> str:
    """A command as the agent's user, outside its unit."""
    return f"runuser -u ephyr-agent-{name} -- bash -c {shlex.quote(command)}"


def exec_as(name: str, target: str, role: str, command: str, options: str = "") -> str:
    """The command by which an agent runs a command on a target."""
    return as_agent(name, f"ephyr exec {target} --role {role} {options} -- {shlex.quote(command)} 2>&1")


#: The broker's message if a target took longer than ten seconds, as a key exchange under emulation may.
TOO_SLOW = "nothing was run: target `web`: no answer within"


def exits(machine: Machine, command: str, status: int, says: str = "") -> str:
    """Runs a command that must exit with this status and print this; its output. Retries if the target was only too slow."""
    found, output = answered(machine, command)
    t.assertEqual(found, status, f"{command}: {output}")
    t.assertIn(says, output, command)
    return output


def answered(machine: Machine, command: str) -> tuple[int, str]:
    """Runs a command, again if the target was too slow; its exit status and output."""
    found: tuple[int, str] = (-1, "")

    def in_time(_last: bool) -> bool:
        nonlocal found
        found = machine.execute(command, timeout=300)
        return TOO_SLOW not in found[1]

    retry(in_time, 300)
    return found


def runs(machine: Machine, command: str) -> str:
    """Runs a command that must succeed; its output. Retries if the target was only too slow."""
    return exits(machine, command, 0)


def in_unit(machine: Machine, name: str, command: str) -> tuple[int, str]:
    """Runs a command inside the agent's unit; its exit status and output."""
    home = f"/var/lib/ephyr-agents/{name}"
    found = machine.succeed(
        f"cd {home}; f=$(mktemp -u -p in); n=${{f##*/}}; printf %s {shlex.quote(command)} > $n; chown ephyr-agent-{name} $n; mv $n in/$n; "
        # Opened for reading and writing, so that it does not block without a reader.
        "[ ! -p wake ] || echo 1<> wake; until [ -e out/$n ]; do sleep 0.1; done; cat out/$n.status out/$n",
        timeout=600,
    )
    status, output = found.split("\n", 1)
    return int(status), output


def wait_for_appliance(machine: Machine) -> None:
    """Waits until the broker answers and may mint tokens."""
    machine.wait_until_succeeds(as_agent("worker", "ephyr health --json | grep -q '\"status\": *\"ok\"'"), timeout=300)


def reload_policy(machine: Machine) -> None:
    """Reloads the policy in all three daemons and waits for the end."""
    machine.succeed("systemctl reload ephyr-broker.service", timeout=300)


def journal(machine: Machine, options: str) -> str:
    """A machine's journal, complete up to this moment."""
    return machine.succeed(f"journalctl --sync; journalctl --no-pager -o cat {options}")


ASK_SIGNER = """
import json, socket, struct, sys
for text in sys.argv[1:]:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(600)
    connection.connect("/run/ephyr-signer/signer.sock")
    body = text.encode()
    connection.sendall(struct.pack(">I", len(body)) + body)
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    print(json.dumps(json.loads(data[4:])))
"""


def ask_signer_all(machine: Machine, requests: list[dict[str, object]]) -> list[dict[str, object]]:
    """Sends the signer requests as the broker's user would, one after the other, and returns its answers."""
    words = " ".join(shlex.quote(json.dumps(request)) for request in requests)
    text = machine.succeed(f"runuser -u ephyr-broker -- python3 -c {shlex.quote(ASK_SIGNER)} {words}", timeout=600)
    answers = [json.loads(line) for line in text.splitlines()]
    t.assertEqual(len(answers), len(requests), text)
    return answers


def ask_signer(machine: Machine, request: dict[str, object]) -> dict[str, object]:
    """Sends the signer a request as the broker's user would, and returns its answer."""
    return ask_signer_all(machine, [request])[0]


def mcp(place: str, method: str, params: dict[str, object], *headers: str) -> str:
    """A command that asks the broker's MCP endpoint; it prints status, headers and body. `place`: options and URL of curl."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    words = ("Content-Type: application/json", "Accept: application/json", "MCP-Protocol-Version: 2025-11-25", *headers)
    return f"curl -s -i {place}/mcp {' '.join(f'-H {shlex.quote(word)}' for word in words)} -d {shlex.quote(body)}"


def mcp_begin(place: str, *headers: str) -> str:
    """A command that opens an MCP session and prints its id."""
    client: dict[str, object] = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    return mcp(place, "initialize", client, *headers) + " | tr -d '\\r' | sed -n 's/^mcp-session-id: //Ip' | grep ."


def count_logins(target: Machine) -> None:
    """Makes a target count the connections to its sshd."""
    target.succeed("nft 'table inet logins { counter begun {}; chain in { type filter hook input priority 0; tcp dport 22 tcp flags == syn counter name begun; }; }'")


def logins_begun(target: Machine) -> int:
    """The number of connections to its sshd since `count_logins`."""
    found = json.loads(target.succeed("nft -j list counter inet logins begun"))["nftables"]
    return int(next(entry["counter"]["packets"] for entry in found if "counter" in entry))


def make_certificate(
    machine: Machine,
    principal: str,
    options: str = "",
    validity: str = "-1h:+1h",
    ca: str = f"{KEYS}/ca",
) -> None:
    """Makes a key and a certificate for it with ssh-keygen, at /root/key."""
    machine.succeed(
        "rm -f /root/key /root/key.pub /root/key-cert.pub; ssh-keygen -q -t ed25519 -N '' -f /root/key; "
        f"ssh-keygen -q -s {ca} -I by-hand -z 7 -n {principal} -V {validity} {options} /root/key.pub"
    )


def make_key(machine: Machine) -> str:
    """Makes a key at /root/key; its public half in the signer's format."""
    machine.succeed("rm -f /root/key /root/key.pub /root/key-cert.pub; ssh-keygen -q -t ed25519 -N '' -f /root/key")
    return " ".join(machine.succeed("cat /root/key.pub").split()[:2])


def signing(key: str, policy: str, **changes: object) -> dict[str, object]:
    """The broker's request to the signer for scout's grant, with changes."""
    intent: dict[str, object] = {
        "policy": policy,
        "agent": "scout",
        "target": "web",
        "role": "read",
        "ttl": "1m",
        "public_key": key,
        "lineage": [],
        "purpose": {"exec": {"command": "uptime"}},
    }
    return {"sign": {"intent": {**intent, **changes}}}


def ask_to_sign(machine: Machine, key: str, policy: str, **changes: object) -> dict[str, object]:
    """Asks the signer for scout's grant, with changes to the request."""
    return ask_signer(machine, signing(key, policy, **changes))


def policy_hash(machine: Machine) -> str:
    """The hash of the policy file."""
    return machine.succeed("ephyr policy hash").strip()


def know_host(machine: Machine, name: str, address: str) -> None:
    """Adds a target's host key to the client's known hosts."""
    machine.succeed(f"echo {address} $(cut -d' ' -f1,2 {KEYS}/host_{name}.pub) > /root/known_hosts")


def write_policy(machine: Machine, change: str) -> None:
    """Changes the policy by a line of Python over `policy`, and replaces the file by rename."""
    script = (
        "import json; path = '/etc/ephyr/policy.yaml'; policy = json.load(open(path)); "
        f"{change}; json.dump(policy, open(path + '.new', 'w'))"
    )
    machine.succeed(f"python3 -c {shlex.quote(script)} && mv -T /etc/ephyr/policy.yaml.new /etc/ephyr/policy.yaml")


def log_is_whole(appliance: Machine) -> None:
    """Checks the audit log after pending writes; a failure includes its last records."""
    said = ""

    def whole(_last: bool) -> bool:
        nonlocal said
        status, said = appliance.execute("ephyr audit verify --log /var/log/ephyr/audit.jsonl --ca-pub /etc/ephyr/ca.pub 2>&1")
        return status == 0

    try:
        # A line that is being written is complete a moment later.
        retry(whole, 15)
    except Exception:
        records = appliance.succeed("cat /var/log/ephyr/audit.jsonl.checkpoint; tail -n 25 /var/log/ephyr/audit.jsonl | cut -c 1-600")
        raise AssertionError(f"{said}\n{records}") from None
    t.assertIn("is intact", said)


#: Kinds of packets that `SEND` sends, with an nftables match for the receiving machine.
PACKETS = {
    "tcp": "ip daddr 192.168.1.9 tcp dport 7001",
    "tcp6": "ip6 daddr 2001:db8:1::9 tcp dport 7001",
    "udp": "ip daddr 192.168.1.9 udp dport 7001",
    "udp6": "ip6 daddr 2001:db8:1::9 udp dport 7001",
    "ping": "icmp type echo-request",
    "ping6": "icmpv6 type echo-request",
    "dns": "ip daddr 192.0.2.53 udp dport 53",
    "dns6": "ip6 daddr 2001:db8:2::53 udp dport 53",
    "dns_tcp": "ip daddr 192.0.2.53 tcp dport 53",
    "metadata": "ip daddr 169.254.169.254 tcp dport 80",
    "metadata6": "ip6 daddr fd00:ec2::254 tcp dport 80",
    "broadcast": "ip daddr 192.168.1.255 udp dport 7001",
    "target": "ip daddr 192.168.1.2 tcp dport 22",
}

#: A program that tries to send all of them and ends with a line `sent` and its user id. A number as argument marks its packets: it
#: is their source port, or the id of an echo request.
SEND = """
import os, socket, struct, sys, time

v4, v6, udp, tcp = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM, socket.SOCK_STREAM
mark = int(sys.argv[1]) if len(sys.argv) > 1 else 0
opened = []


def send(family, kind, protocol, address, port, data):
    try:
        opened.append(socket.socket(family, kind, protocol))
        opened[-1].setblocking(False)
        if mark:
            opened[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened[-1].bind(("", mark))
        if kind == tcp:
            # Closed by a reset, so that the kernel sends nothing afterwards.
            opened[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            opened[-1].connect_ex((address, port))
        else:
            opened[-1].setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            opened[-1].sendto(data, (address, port))
    except OSError as error:
        print(address, port, error)


for family, address in ((v4, "192.168.1.9"), (v6, "2001:db8:1::9")):
    send(family, tcp, 0, address, 7001, b"")
    send(family, udp, 0, address, 7001, b"x")
send(v4, udp, socket.IPPROTO_ICMP, "192.168.1.9", 0, bytes([8, 0, 0, 0, 0, 0, 0, 1]))
send(v6, udp, socket.IPPROTO_ICMPV6, "2001:db8:1::9", 0, bytes([128, 0, 0, 0, 0, 0, 0, 1]))
send(v4, udp, 0, "192.0.2.53", 53, bytes(12))
send(v6, udp, 0, "2001:db8:2::53", 53, bytes(12))
send(v4, tcp, 0, "192.0.2.53", 53, b"")
send(v4, tcp, 0, "169.254.169.254", 80, b"")
send(v6, tcp, 0, "fd00:ec2::254", 80, b"")
send(v4, udp, 0, "192.168.1.255", 7001, b"x")
send(v4, tcp, 0, "192.168.1.2", 22, b"")
time.sleep(0.5)
# The sockets close before the last line, so nothing is retransmitted after it.
for one in opened:
    one.close()
print("sent", os.geteuid())
"""


def marked(mark: int) -> dict[str, str]:
    """Kinds of packets that `SEND` sends with this mark."""
    of_ping = {"ping": f"icmp id {mark}", "ping6": f"icmpv6 id {mark}"}
    return {f"marked_{kind}": f"{match} {of_ping.get(kind, f'th sport {mark}')}" for kind, match in PACKETS.items()}


#: Ports of the marker packets by which `arrived` knows that all earlier ones have come.
MARKERS = itertools.count(30000)


def count_packets(appliance: Machine, receivers: list[Machine], **more: str) -> None:
    """Makes machines count packets from the appliance: `more` kinds, PACKETS, and all others as `other`."""
    # As on most systems: without it no user may send echo requests.
    appliance.succeed("sysctl -qw net.ipv4.ping_group_range='0 2147483647'")
    kinds = {**more, **PACKETS}
    # Prefixed, since some of the names are nft keywords.
    lines = [
        "table inet count {",
        "set markers {",
        "typeof meta nfproto . udp dport",
        "size 10000",
        "flags dynamic",
        "}",
        *(f"counter n_{kind} {{}}" for kind in ("other", *kinds)),
        "chain in {",
        "type filter hook prerouting priority raw",
        # The kernel's own neighbour discovery.
        "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } return",
        "ip saddr 192.168.1.1 jump appliance",
        "ip6 saddr 2001:db8:1::1 jump appliance",
        "}",
        "chain appliance {",
        "udp dport 30000-39999 add @markers { meta nfproto . udp dport } return",
        *(f"{match} counter name n_{kind} return" for kind, match in kinds.items()),
        "counter name n_other",
        "}",
        "}",
    ]
    table = shlex.quote("\n".join(lines))
    for machine in receivers:
        machine.succeed(f"nft {table}")


def arrived(appliance: Machine, receivers: list[Machine]) -> set[str]:
    """The kinds of packets that came from the appliance since the last call, including all sent before this one."""
    last = {"outside": 9, "web": 2}
    mark = next(MARKERS)
    markers = {
        to.name: "; ".join(f"echo > /dev/udp/{prefix}{last[to.name]}/{mark} || true" for prefix in ("192.168.1.", "2001:db8:1::"))
        for to in receivers
    }
    # A closing connection still sends packets, which belong to the earlier ones.
    closing = "ss -Htn state fin-wait-1 state fin-wait-2 state closing state last-ack"
    appliance.succeed(f'for n in $(seq 600); do [ -n "$({closing})" ] || break; sleep 0.1; done; {"; ".join(markers.values())}')
    # The wire keeps the order of packets: all earlier ones have arrived when these two have.
    look = f"nft get element inet count markers '{{ ipv4 . {mark}, ipv6 . {mark} }}' > /dev/null 2>&1"
    command = f"for n in $(seq 50); do if {look}; then nft -j reset counters table inet count; exit; fi; sleep 0.1; done; exit 1"
    seen: set[str] = set()
    for machine in receivers:
        text = ""

        def there(_last: bool) -> bool:
            nonlocal text
            status, text = machine.execute(command)
            if status != 0:
                # Packets that wait for a slow neighbour discovery are lost.
                appliance.succeed(markers[machine.name])
            return status == 0

        retry(there, 120)
        found = [entry["counter"] for entry in json.loads(text)["nftables"] if "counter" in entry]
        seen |= {counter["name"].removeprefix("n_") for counter in found if counter["packets"] > 0}
    return seen


def arrives(appliance: Machine, receivers: list[Machine], wanted: set[str], send: Callable[[], object]) -> None:
    """Sends, at most eight times, until all wanted kinds have arrived; no other kind may.

    Packets that wait for a slow neighbour discovery are lost, which is not a rejection. To check that nothing arrives,
    call `arrived` once.
    """
    seen: set[str] = set()
    for _ in range(8):
        send()
        seen |= arrived(appliance, receivers)
        if seen >= wanted:
            break
    t.assertEqual(seen, wanted)


def put_sender(appliance: Machine) -> str:
    """Installs `SEND` for all users; the command that runs it."""
    appliance.succeed(f"install -d /usr/local/lib/vm; printf %s {shlex.quote(SEND)} > /usr/local/lib/vm/send.py")
    return "python3 /usr/local/lib/vm/send.py"


#: Agents that have a unit, with the file that shows that the first work is done.
FIRST_DONE = {agent: f"/var/lib/ephyr-agents/{agent}/out/first" for agent in ("worker", "caller")}


def put_first_work(appliance: Machine, outside: Machine) -> None:
    """Stops the agents' units. At their next start they first send all kinds of packets, three times.

    The agent with an `egress` entry then retries until it gets through, since the network may come up after it.
    """
    outside.succeed("systemd-run --quiet nc -lk 8080")
    outside.wait_for_open_port(8080, timeout=60)
    door = "nc -z -w 2 192.168.1.9 8080"
    send = f"for n in 1 2 3; do {put_sender(appliance)}; {door} && echo through; done"
    work = {"worker": send, "caller": f"{send}; until {door}; do sleep 0.5; done"}
    for agent, done in FIRST_DONE.items():
        home = f"/var/lib/ephyr-agents/{agent}"
        appliance.succeed(
            f"rm -f {done}*; printf %s {shlex.quote(work[agent])} > {home}/first; "
            f"chown ephyr-agent-{agent} {home}/first; systemctl stop ephyr-agent-{agent}.service; mv {home}/first {home}/in/first"
        )


def power_cycle(appliance: Machine, receivers: list[Machine]) -> None:
    """Switches the appliance off like a power cut, and on again. Packets from before are not counted."""
    arrived(appliance, receivers)
    appliance.succeed("sync")
    appliance.crash()
    appliance.start()
    appliance.wait_for_unit("multi-user.target")


def same_time(machine: Machine, other: Machine) -> None:
    """Sets a machine's clock by another's: a booted machine has the host's time, and a restored one may be behind."""
    machine.succeed(f"date -s @{other.succeed('date +%s').strip()}")


def start_process(machine: Machine, unit: str, words: str) -> str:
    """Starts a program in a unit of its own and waits until it is executed; its process id."""
    machine.succeed(f"systemd-run --quiet --unit={unit} --property=Type=exec {words}")
    return machine.get_unit_property(f"{unit}.service", "MainPID")


def wait_for_table(appliance: Machine) -> None:
    """Waits until the agents' firewall is as the policy says."""
    appliance.wait_until_succeeds("ephyr-netguard check", timeout=60)
