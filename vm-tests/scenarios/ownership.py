# topology: site
# only: debian
"""What belongs to one part no other one has: the CA key is root's, each daemon has a user and directories of its own, and no agent is root."""

start_all()
wait_for_appliance(appliance)
DAEMONS = ("ephyr-signer", "ephyr-broker", "ephyr-netguard")
USERS = (*DAEMONS, "ephyr-agent-worker", "ephyr-agent-scout", "nobody")


def may(user: str, test: str) -> bool:
    return appliance.execute(f"cd /; runuser -u {user} -- test {test}")[0] == 0


with subtest("the CA key is root's alone, and the signer has it all the same"):
    t.assertEqual(appliance.succeed("stat -c '%U %G %a' /etc/ephyr/ca_key"), "root root 400\n")
    t.assertEqual({user for user in USERS if may(user, "-r /etc/ephyr/ca_key")}, set())
    answer = ask_signer(appliance, {"root_public_key": {}})["root_public_key"]
    assert isinstance(answer, dict)
    key = str(answer["public_key"]).split()[:2]
    t.assertEqual(key, appliance.succeed("cat /etc/ephyr/ca.pub").split()[:2])

with subtest("everyone may read the policy and the CA's public key, and nobody but root change them"):
    for path in ("/etc/ephyr/policy.yaml", "/etc/ephyr/ca.pub"):
        t.assertEqual({user for user in USERS if may(user, f"-r {path}")}, set(USERS), path)
        t.assertEqual({user for user in ("root", *USERS) if may(user, f"-w {path}")}, {"root"}, path)
    t.assertEqual({user for user in ("root", *USERS) if may(user, "-w /etc/ephyr")}, {"root"})

with subtest("each daemon runs as a user of its own and has directories that are no other's"):
    owners = {
        "/var/lib/ephyr-signer": "ephyr-signer",
        "/var/lib/ephyr-broker": "ephyr-broker",
        "/run/ephyr-broker": "ephyr-broker",
        "/var/log/ephyr": "ephyr-broker",
        "/run/ephyr-netguard": "ephyr-netguard",
    }
    for name in DAEMONS:
        pid = appliance.get_unit_property(f"{name}.service", "MainPID")
        t.assertEqual(appliance.succeed(f"ps -o user:32= -p {pid}").strip(), name)
    for directory, owner in owners.items():
        t.assertEqual(appliance.succeed(f"stat -c %U {directory}").strip(), owner, directory)
        t.assertEqual({user for user in USERS if may(user, f"-w {directory}")}, {owner}, directory)
        if directory != "/run/ephyr-netguard":
            t.assertEqual({user for user in USERS if may(user, f"-r {directory}")}, {owner}, directory)
    # What the guard says of the firewall is for all to read.
    t.assertEqual({user for user in USERS if may(user, "-r /run/ephyr-netguard/status.json")}, set(USERS))

with subtest("an agent's unit runs as the agent, and none is made for an agent that would be root"):
    for agent, uid in (("worker", 1502), ("caller", 1503)):
        status, output = in_unit(appliance, agent, "id -u; id -G")
        t.assertEqual((status, output.split()[0]), (0, str(uid)))
        t.assertNotIn("0", output.split())
    command = ["/bin/true"]
    for late, works in (({"uid": 1510, "command": command}, True), ({"uid": 0, "command": command}, False), ({"command": command}, False)):
        settings = json.dumps({"package": "/usr", "agents": {"late": late}})
        appliance.succeed(f"rm -rf /root/late; printf %s {shlex.quote(settings)} > /root/late.json")
        status, output = appliance.execute("ephyr units render --settings /root/late.json --out /root/late 2>&1")
        t.assertEqual(status == 0, works, output)
        unit = appliance.execute("grep -rhE '^User=' /root/late/systemd/system/ephyr-agent-late.service")[1]
        t.assertEqual(unit, "User=ephyr-agent-late\n" if works else "", output)
