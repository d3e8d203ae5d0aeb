# topology: site
# core: yes
"""The broker's user, with a shell, reads neither the CA key nor anything else of the signer; the signer works with it."""

start_all()
wait_for_appliance(appliance)
SIGNER = "ephyr-signer.service"


def command(user: str, text: str) -> str:
    """A command as a user, without its output."""
    return f"cd /; runuser -u {user} -- {text} > /dev/null"


def refused(text: str, place: str, instead: str, user: str = "ephyr-broker") -> None:
    """A command fails on the signer's files, and the same one succeeds on others."""
    appliance.fail(command(user, text.format(place)))
    appliance.succeed(command(user, text.format(instead)))


def writable_page(pid: str) -> int:
    """The address of a process's own memory."""
    return int(appliance.succeed(f"grep -m 1 ' rw-p ' /proc/{pid}/maps").split("-")[0], 16)


def another_process(unit: str, user: str) -> str:
    """Starts a user's process; its id."""
    return start_process(appliance, unit, f"--uid={user} --property=LoadCredential=own:/etc/ephyr/ca.pub sleep 100000")


def files_with(*parts: str) -> list[set[str]]:
    """The files in which the broker's user finds the output of each of root's commands."""
    texts = [appliance.succeed(part).strip()[:40] for part in parts]
    words = " ".join(f"-e {shlex.quote(text)}" for text in texts)
    search = f"cd /; runuser -u ephyr-broker -- grep -rosaF {words} /etc /run /var /tmp /home /opt /srv"
    found = [line.rsplit(":", 1) for line in appliance.execute(search, timeout=600)[1].splitlines()]
    return [{path for path, text in found if text == wanted} for wanted in texts]


with subtest("the key is in no file that the broker's user can read"):
    another_process("own", "ephyr-broker")
    refused("cat {}", "/etc/ephyr/ca_key", "/etc/ephyr/ca.pub")
    refused("ls {}", "/var/lib/ephyr-signer", "/run/ephyr-broker")
    refused("cat {}", f"/run/credentials/{SIGNER}/ca_key", "/run/credentials/own.service/own")
    appliance.succeed(f"test -s /etc/ephyr/ca_key; test -s /var/lib/ephyr-signer/journal; test -s /run/credentials/{SIGNER}/ca_key")
    private, public = files_with("sed -n 5p /etc/ephyr/ca_key", "cut -d' ' -f2 /etc/ephyr/ca.pub")
    t.assertEqual(private, set())
    t.assertIn("/etc/ephyr/ca.pub", public)

with subtest("the signer's memory is closed, even to who may trace its own user"):
    pid = appliance.get_unit_property(SIGNER, "MainPID")
    for user in ("ephyr-broker", "ephyr-signer"):
        other = another_process(f"of-{user}", user)
        refused("head -c 1 /proc/{}/environ", pid, other, user)
        refused("cat /proc/{}/maps", pid, other, user)
        read = "dd if=/proc/{0}/mem bs=1 count=1 iflag=skip_bytes skip={1}"
        page = writable_page(pid)
        appliance.fail(command(user, read.format(pid, page)))
        appliance.succeed(command(user, read.format(other, writable_page(other))))
        appliance.succeed(command("root", read.format(pid, page)))

with subtest("the broker's user can stop neither and become nobody else"):
    refused("kill -TERM {}", pid, appliance.get_unit_property("own.service", "MainPID"))
    for unit in (SIGNER, "ephyr-broker.service"):
        stop = f"systemctl --no-ask-password stop {unit}"
        appliance.fail(command("ephyr-broker", stop))
        appliance.require_unit_state(unit)
    appliance.succeed(f"systemctl --no-ask-password stop {SIGNER}; systemctl start {SIGNER}")
    appliance.fail(command("ephyr-broker", "sudo -n true < /dev/null"))
    appliance.succeed(command("root", "sudo -n true < /dev/null"))

with subtest("with all that, the signer signs"):
    wait_for_appliance(appliance)
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")
