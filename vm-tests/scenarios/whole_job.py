# topology: site
# core: yes
"""From inside its unit an agent does a whole job over `ephyr mcp` and nothing else; one with `egress` reaches exactly its destination."""

start_all()
wait_for_appliance(appliance)
RECEIVERS = [outside, web]
count_packets(appliance, RECEIVERS, egress="ip daddr 192.168.1.9 tcp dport 8080")

#: A small MCP client, and the job.
JOB = """
import json, os, subprocess, sys


class Server:
    def __init__(self, token=None):
        more = {"EPHYR_TOKEN": token} if token else {}
        self.process = subprocess.Popen(
            ["ephyr", "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **more}
        )
        self.count = 0
        opened = self.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "job", "version": "1"})
        assert opened["result"]["protocolVersion"] == "2025-11-25", opened
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps(message) + chr(10))
        self.process.stdin.flush()

    def ask(self, method, **params):
        self.count += 1
        self.send({"jsonrpc": "2.0", "id": self.count, "method": method, "params": params})
        answer = json.loads(self.process.stdout.readline())
        assert answer["id"] == self.count, answer
        return answer

    def call(self, tool, **arguments):
        answer = self.ask("tools/call", name=tool, arguments=arguments)
        while sys.argv[1] in json.dumps(answer):
            # The target was too slow, and nothing was run.
            answer = self.ask("tools/call", name=tool, arguments=arguments)
        if "error" in answer:
            return True, answer["error"]["message"]
        result = answer["result"]
        return bool(result.get("isError")), result.get("structuredContent") or result["content"][0]["text"]


said = {}
agent = Server()
said["tools"] = sorted(tool["name"] for tool in agent.ask("tools/list")["result"]["tools"])
said["targets"] = agent.call("list_targets")
failed, made = agent.call("task_create", description="a whole job")
assert not failed, made
task = Server(made["token"])
said["exec"] = task.call("exec", target="web", role="operate", command="id -un; echo done > /tmp/job")
said["another target"] = task.call("exec", target="nowhere", role="read", command="uptime")
said["another role"] = task.call("exec", target="web", role="root", command="id")
said["another command"] = task.call("exec", target="web", role="read", command="cat /etc/shadow")
said["unknown tool"] = task.call("policy_reload")
said["revoke"] = agent.call("task_revoke", task_id=made["task_id"])
said["exec after"] = task.call("exec", target="web", role="read", command="id -un")
print(json.dumps(said))
"""

#: Further attempts of the job, with the reason of each refusal.
REFUSALS = {
    "another target": "has no role `read` on a target `nowhere`",
    "another role": "agent `worker` has no role `root` on `web`",
    "another command": "role `read` may run only the commands of its list",
    "unknown tool": "there is no tool",
    "exec after": "was revoked",
}

with subtest("the job is done: tools, task, command, revocation"):
    status, output = in_unit(appliance, "worker", f"python3 -c {shlex.quote(JOB)} {shlex.quote(TOO_SLOW)}")
    t.assertEqual(status, 0, output)
    said = json.loads(output.splitlines()[-1])
    for tool in ("list_targets", "exec", "task_create", "task_revoke"):
        t.assertIn(tool, said["tools"])
    t.assertEqual(sorted(target["name"] for target in said["targets"][1]["targets"]), ["db", "web"])
    failed, result = said["exec"]
    t.assertFalse(failed, result)
    t.assertEqual((result["exit_code"], result["stdout"]), (0, "agent-operate\n"))
    t.assertEqual(web.succeed("stat -c %U /tmp/job; cat /tmp/job"), "agent-operate\ndone\n")
    failed, result = said["revoke"]
    t.assertFalse(failed, result)
    t.assertTrue(result["revoked"])

with subtest("and nothing else: no other target, role, command or tool, and nothing once the task is revoked"):
    for refused, why in REFUSALS.items():
        failed, result = said[refused]
        t.assertTrue(failed, f"{refused}: {result}")
        t.assertIn(why, str(result), refused)
    log = journal(web, "").splitlines()
    t.assertEqual({line.split()[3] for line in log if line.startswith("Accepted publickey for agent-")}, {"agent-operate"})

with subtest("the log tells the job, and who did it"):
    task = json.loads(appliance.succeed("ephyr audit query --json | grep task_created | tail -1"))
    appliance.succeed(f"ephyr audit query --json --task {task['task']} | grep exec_outcome | grep worker")

with subtest("beside that, the agent's unit sends nothing"):
    arrived(appliance, RECEIVERS)
    status, output = in_unit(appliance, "worker", f"python3 -c {shlex.quote(SEND)}; nc -z -w 3 192.168.1.9 8080")
    t.assertNotEqual(status, 0, output)
    t.assertIn("sent", output)
    t.assertEqual(arrived(appliance, RECEIVERS), set())

CONNECT = """
import json, socket, sys
found = {}
for address, port in (word.rsplit("/", 1) for word in sys.argv[1:]):
    try:
        with socket.create_connection((address, int(port)), timeout=20) as connection:
            connection.sendall(b"x")
        found[address + "/" + port] = "reached"
    except OSError as error:
        found[address + "/" + port] = repr(error)
print(json.dumps(found))
"""
DOORS = ["192.168.1.9/8080", "192.168.1.9/8081", "192.168.1.2/8080", "192.168.1.2/22", "2001:db8:1::9/8080", "127.0.0.1/8080"]

with subtest("an agent with an egress entry reaches that address and port, and no other port, address or family"):
    for machine, address in ((outside, "0.0.0.0"), (outside, "::"), (web, "0.0.0.0"), (appliance, "127.0.0.1")):
        flag = "-6" if ":" in address else "-4"
        machine.succeed(f"systemd-run --quiet nc {flag} -lk {address} 8080")
    outside.succeed("systemd-run --quiet nc -lk 8081")
    command = f"python3 -c {shlex.quote(CONNECT)} {' '.join(DOORS)}"
    everyone = {door: "reached" for door in DOORS}
    retry(lambda _last: bool(json.loads(appliance.succeed(f"runuser -u nobody -- {command}")) == everyone), 60)
    arrived(appliance, RECEIVERS)
    status, output = in_unit(appliance, "caller", command)
    t.assertEqual(status, 0, output)
    reached = {door for door, result in json.loads(output).items() if result == "reached"}
    t.assertEqual(reached, {"192.168.1.9/8080"})
    t.assertEqual(arrived(appliance, RECEIVERS), {"egress"})
    status, output = in_unit(appliance, "worker", command)
    t.assertEqual(status, 0, output)
    t.assertNotIn("reached", output)

with subtest("nor by anything but TCP, and it has the broker like every agent"):
    status, output = in_unit(
        appliance, "caller", f"python3 -c {shlex.quote(SEND)}; echo x > /dev/udp/192.168.1.9/8080; ephyr exec web --role read -- 'id -un'"
    )
    t.assertIn("agent-read", output)
    t.assertEqual(arrived(appliance, RECEIVERS), {"target"})
