# Stands before every scenario, in both runners: what an agent, the operator and a hostile broker do.
import json
import shlex

KEYS = "/etc/ephyr-vm/keys"
#: A client that uses no configuration and asks nothing.
SSH = (
    "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/root/known_hosts "
    "-o IdentitiesOnly=yes -o ConnectTimeout=20"
)


def as_agent(name: str, command: str) -> str:
    """A command as the agent's user, outside its unit."""
    return f"runuser -u ephyr-agent-{name} -- bash -c {shlex.quote(command)}"


def exec_as(name: str, target: str, role: str, command: str, options: str = "") -> str:
    """What an agent types to run a command on a target."""
    return as_agent(name, f"ephyr exec {target} --role {role} {options} -- {shlex.quote(command)} 2>&1")


def exits(machine: Machine, command: str, status: int) -> str:
    """Runs a command that must exit with this status; its output."""
    found, output = machine.execute(command, timeout=120)
    t.assertEqual(found, status, f"{command}: {output}")
    return output


def in_unit(machine: Machine, name: str, command: str) -> tuple[int, str]:
    """Runs a command inside the agent's unit; its exit status and all that it printed."""
    home = f"/var/lib/ephyr-agents/{name}"
    number = machine.succeed(f"mktemp -u {home}/in/XXXXXXXX").strip().rsplit("/", 1)[1]
    machine.succeed(
        f"printf %s {shlex.quote(command)} > {home}/{number}; chown ephyr-agent-{name} {home}/{number}; "
        f"mv {home}/{number} {home}/in/{number}"
    )
    output = machine.wait_until_succeeds(f"cat {home}/out/{number}", timeout=180)
    return int(machine.succeed(f"cat {home}/out/{number}.status")), output


def wait_for_appliance(machine: Machine) -> None:
    """Waits until the broker answers and may mint tokens."""
    machine.wait_until_succeeds(as_agent("worker", "ephyr health --json | grep -q '\"status\": *\"ok\"'"), timeout=300)


ASK_SIGNER = """
import json, socket, struct, sys
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(30)
connection.connect("/run/ephyr-signer/signer.sock")
body = sys.argv[1].encode()
connection.sendall(struct.pack(">I", len(body)) + body)
data = b""
while chunk := connection.recv(65536):
    data += chunk
print(data[4:].decode())
"""


def ask_signer(machine: Machine, request: dict[str, object], user: str = "ephyr-broker") -> dict[str, object]:
    """Sends the signer a request as the broker's user would, and returns its answer."""
    text = machine.succeed(
        f"runuser -u {user} -- python3 -c {shlex.quote(ASK_SIGNER)} {shlex.quote(json.dumps(request))}", timeout=120
    )
    answer = json.loads(text)
    assert isinstance(answer, dict)
    return answer


def make_certificate(
    machine: Machine,
    principal: str,
    options: str = "",
    validity: str = "-1h:+1h",
    ca: str = f"{KEYS}/ca",
) -> None:
    """Makes a key and a certificate for it by hand, at /root/key."""
    machine.succeed(
        "rm -f /root/key /root/key.pub /root/key-cert.pub; ssh-keygen -q -t ed25519 -N '' -f /root/key; "
        f"ssh-keygen -q -s {ca} -I by-hand -z 7 -n {principal} -V {validity} {options} /root/key.pub"
    )


def know_host(machine: Machine, name: str, address: str) -> None:
    """Puts a target's host key where the client looks for it."""
    machine.succeed(f"echo {address} $(cut -d' ' -f1,2 {KEYS}/host_{name}.pub) > /root/known_hosts")


def write_policy(machine: Machine, change: str) -> None:
    """Changes the policy by a line of Python over `policy`, and puts it in place by rename."""
    script = (
        "import json; path = '/etc/ephyr/policy.yaml'; policy = json.load(open(path)); "
        f"{change}; json.dump(policy, open(path + '.new', 'w'))"
    )
    machine.succeed(f"python3 -c {shlex.quote(script)} && mv -T /etc/ephyr/policy.yaml.new /etc/ephyr/policy.yaml")
