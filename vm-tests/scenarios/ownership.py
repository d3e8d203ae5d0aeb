# topology: site
# only: debian
"""The CA key is root's, each daemon has its own user and directories, and no agent is root."""

start_all()
wait_for_appliance(appliance)
DAEMONS = ("ephyr-signer", "ephyr-broker", "ephyr-netguard")
USERS = (*DAEMONS, "ephyr-agent-worker", "ephyr-agent-scout", "nobody")


#: Asks the kernel, as each user, whether each test of its arguments is allowed.
MAY = """
import json, os, pwd, sys

flags = {"-r": os.R_OK, "-w": os.W_OK}
for user in sys.argv[1].split():
    reader, writer = os.pipe()
    if os.fork() == 0:
        entry = pwd.getpwnam(user)
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        found = [test for test in sys.argv[2:] if os.access(test[3:], flags[test[:2]])]
        os.write(writer, json.dumps([user, found]).encode())
        os._exit(0)
    os.close(writer)
    print(open(reader).read())
    os.wait()
"""


def who_may(*tests: str) -> dict[str, set[str]]:
    """For each test (`-r` or `-w`, and a path), those of root and USERS that are allowed."""
    users = ("root", *USERS)
    text = appliance.succeed(f"cd /; python3 -c {shlex.quote(MAY)} {shlex.quote(' '.join(users))} {' '.join(map(shlex.quote, tests))}")
    found = dict(json.loads(line) for line in text.splitlines())
    t.assertEqual(set(found), set(users))
    return {test: {user for user in users if test in found[user]} for test in tests}


with subtest("the CA key is root's alone, and the signer has it all the same"):
    t.assertEqual(appliance.succeed("stat -c '%U %G %a' /etc/ephyr/ca_key"), "root root 400\n")
    t.assertEqual(who_may("-r /etc/ephyr/ca_key"), {"-r /etc/ephyr/ca_key": {"root"}})
    answer = ask_signer(appliance, {"root_public_key": {}})["root_public_key"]
    assert isinstance(answer, dict)
    key = str(answer["public_key"]).split()[:2]
    t.assertEqual(key, appliance.succeed("cat /etc/ephyr/ca.pub").split()[:2])

with subtest("everyone may read the policy and the CA's public key, and nobody but root change them"):
    wanted = {f"-{letter} /etc/ephyr/{name}": {"root", *who} for name in ("policy.yaml", "ca.pub") for letter, who in (("r", USERS), ("w", ()))}
    wanted["-w /etc/ephyr"] = {"root"}
    t.assertEqual(who_may(*wanted), wanted)

with subtest("each daemon runs as a user of its own and has directories that are no other's"):
    owners = {
        "/var/lib/ephyr-signer": "ephyr-signer",
        "/run/ephyr-broker": "ephyr-broker",
        "/var/log/ephyr": "ephyr-broker",
        "/run/ephyr-netguard": "ephyr-netguard",
    }
    for name in DAEMONS:
        pid = appliance.get_unit_property(f"{name}.service", "MainPID")
        t.assertEqual(appliance.succeed(f"ps -o user:32= -p {pid}").strip(), name)
    t.assertEqual(appliance.succeed(f"stat -c %U {' '.join(owners)}").split(), list(owners.values()))
    wanted = {f"-{letter} {directory}": {"root", owner} for directory, owner in owners.items() for letter in "rw"}
    # The guard's status is world-readable.
    del wanted["-r /run/ephyr-netguard"]
    wanted["-r /run/ephyr-netguard/status.json"] = {"root", *USERS}
    t.assertEqual(who_may(*wanted), wanted)

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
