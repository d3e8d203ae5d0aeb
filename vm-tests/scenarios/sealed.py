# topology: site
# core: yes
"""A sealed certificate runs its command alone, whatever the client requests, with stdin closed."""

start_all()
wait_for_appliance(appliance)
know_host(appliance, "web", "192.168.1.2")


def sign(command: str) -> None:
    """Has the signer certify /root/key for one command, for five minutes, as the broker would."""
    key = make_key(appliance)
    purpose = {"exec": {"command": command}}
    answer = ask_to_sign(appliance, key, policy_hash(appliance), agent="worker", role="operate", ttl="5m", purpose=purpose)
    t.assertIn("certificate", answer, str(answer))
    certificate = answer["certificate"]
    assert isinstance(certificate, dict)
    appliance.succeed(f"echo {shlex.quote(str(certificate['certificate']))} > /root/key-cert.pub")


# The line that proves to the broker that a sealed command started.
BEGINS = "ephyr-sealed-42\n"
CLIENT = f"{SSH} -i /root/key agent-operate@192.168.1.2"
# End of input ends a sealed command, so the client's input never ends.
appliance.succeed("rm -f /root/open; mkfifo /root/open")
OPEN = "0<>/root/open"

with subtest("what the client asks for is not run"):
    sign("echo sealed; id -un")
    ran = f"{BEGINS}sealed\nagent-operate\n"
    t.assertEqual(appliance.succeed(f"{CLIENT} 'touch /tmp/asked; echo asked' {OPEN}"), ran)
    web.fail("test -e /tmp/asked")
    t.assertEqual(appliance.succeed(f"{CLIENT} true {OPEN}"), ran)

with subtest("what the client sends is not read"):
    sign("cat; echo end")
    t.assertEqual(appliance.succeed(f"{{ echo sent >&0; {CLIENT}; }} {OPEN}"), f"{BEGINS}end\n")
    t.assertEqual(runs(appliance, exec_as("worker", "web", "operate", "cat; echo end")), "end\n")

with subtest("no terminal, no forwarding, no other subsystem"):
    sign("tty || echo no terminal")
    t.assertIn("PTY allocation request failed", appliance.fail(f"{CLIENT} -tt 2>&1 {OPEN}"))
    forwarded = f"timeout 120 {CLIENT} -N -o ExitOnForwardFailure=yes -R 9999:127.0.0.1:22 2>&1"
    t.assertIn("remote port forwarding failed", exits(appliance, forwarded, 255))
    t.assertIn("administratively prohibited", exits(appliance, f"timeout 120 {CLIENT} -W 127.0.0.1:22 2>&1", 255))
    exits(appliance, f"echo ls | timeout 120 sftp -b - {CLIENT.removeprefix('ssh ')} 2>&1", 255)
    t.assertIn("no terminal", appliance.succeed(f"{CLIENT} {OPEN}"))

with subtest("the certificate is dead when its time is over"):
    sign("echo sealed")
    t.assertEqual(appliance.succeed(f"{CLIENT} {OPEN}"), f"{BEGINS}sealed\n")
    later = int(appliance.succeed("date +%s")) + 600
    web.succeed(f"date -s @{later}")
    t.assertIn("Permission denied", appliance.fail(f"{CLIENT} 2>&1 {OPEN}"))
    same_time(web, appliance)
    t.assertEqual(appliance.succeed(f"{CLIENT} {OPEN}"), f"{BEGINS}sealed\n")
