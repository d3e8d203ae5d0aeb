# topology: site
"""One agent's token and MCP session are useless to another agent, over the Unix socket and over TCP; the agent itself can use them."""

start_all()
wait_for_appliance(appliance)
RUN = "ephyr exec web --role read -- 'id -un' 2>&1"
HTTP = "ephyr --url http://127.0.0.1:8554"


def shell(user: str, command: str) -> str:
    """A command as a user, outside any unit."""
    return f"cd /; runuser -u {user} -- bash -c {shlex.quote(command)}"


def refused(user: str, command: str, *codes: int) -> str:
    status, output = appliance.execute(shell(user, command), timeout=120)
    t.assertIn(status, codes, output)
    t.assertNotIn("agent-read", output)
    return output


made = json.loads(appliance.succeed(as_agent("worker", "ephyr task create --description x --can-delegate --json")))
TOKEN, TASK = str(made["token"]), str(made["task_id"])
OWN = f"EPHYR_TOKEN={TOKEN} "

with subtest("over the socket: the token works for its agent and for no other, and no other one delegates, shows or ends its task"):
    t.assertEqual(runs(appliance, as_agent("worker", OWN + RUN)), "agent-read\n")
    for agent in ("ephyr-agent-scout", "ephyr-agent-caller"):
        t.assertIn("whose UID is not yours", refused(agent, OWN + RUN, 77))
        refused(agent, OWN + "ephyr task delegate --description y 2>&1", 77)
        refused(agent, OWN + "ephyr task info 2>&1", 77)
        # The refusal does not reveal whether such a task exists.
        t.assertIn("not found", refused(agent, f"ephyr task revoke {TASK} 2>&1", 65))
        # Its own access has not changed.
        t.assertEqual(runs(appliance, shell(agent, RUN)), "agent-read\n")
    appliance.succeed(as_agent("worker", OWN + "ephyr task info"))
    t.assertEqual(runs(appliance, as_agent("worker", OWN + RUN)), "agent-read\n")

SOCKET = "--unix-socket /run/ephyr/broker.sock http://localhost"

with subtest("an MCP session is its agent's"):
    session = appliance.succeed(as_agent("worker", mcp_begin(SOCKET))).strip()
    use = mcp(SOCKET, "tools/list", {}, f"Mcp-Session-Id: {session}") + " | head -1"
    t.assertIn(" 200", appliance.succeed(as_agent("worker", use)))
    t.assertIn(" 404", appliance.succeed(as_agent("scout", use)))
    t.assertIn(" 200", appliance.succeed(as_agent("worker", use)))

with subtest("over TCP: a local agent's token alone is of no use to anybody who got hold of it"):
    t.assertIn("lives on the appliance", refused("nobody", f"{OWN} {HTTP} exec web --role read -- 'id -un' 2>&1", 77))
    # An agent's process cannot even connect.
    refused("ephyr-agent-scout", f"{OWN} {HTTP} exec web --role read -- 'id -un' 2>&1", 69)
    refused("ephyr-agent-worker", f"{OWN} {HTTP} exec web --role read -- 'id -un' 2>&1", 69)

with subtest("over TCP: a bound token works with its key, and no other agent has that"):
    write_policy(appliance, "[policy['agents'][name].update(require_pop=True) for name in ('scout', 'worker')]")
    reload_policy(appliance)
    for agent in ("worker", "scout"):
        appliance.succeed(
            f"install -d -m 700 -o ephyr-agent-{agent} -g ephyr-agent-{agent} /var/lib/keys-{agent}; "
            + shell(f"ephyr-agent-{agent}", f"ssh-keygen -q -t ed25519 -N '' -f /var/lib/keys-{agent}/key")
        )
    create = "--holder-key /var/lib/keys-worker/key task create --description bound --token-only"
    bound = appliance.succeed(as_agent("worker", f"ephyr {create}")).strip()
    use = f"EPHYR_TOKEN={bound} {HTTP} %s exec web --role read -- 'id -un' 2>&1"
    own = use % "--holder-key /var/lib/keys-worker/key"
    t.assertEqual(runs(appliance, as_agent("worker", own)), "agent-read\n")
    refused("ephyr-agent-scout", use % "", 77)
    refused("ephyr-agent-scout", use % "--holder-key /var/lib/keys-scout/key", 77)
    refused("ephyr-agent-scout", own, 66, 77)
    refused("ephyr-agent-scout", f"{OWN} {HTTP} exec web --role read -- 'id -un' 2>&1", 77)
    t.assertEqual(runs(appliance, as_agent("worker", own)), "agent-read\n")
