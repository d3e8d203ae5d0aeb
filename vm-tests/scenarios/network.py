# topology: site
# core: yes
"""No packet of an agent leaves: not from its unit, not from outside it, and not over a connection from before the table."""

start_all()
wait_for_appliance(appliance)
RECEIVERS = [outside, web]
count_packets(
    appliance,
    RECEIVERS,
    agents_stream="ip daddr 192.168.1.9 tcp dport 7005 tcp flags & psh != 0",
    others_stream="ip daddr 192.168.1.9 tcp dport 7006 tcp flags & psh != 0",
    # Packets that accompany these and their end.
    without_data="ip daddr 192.168.1.9 tcp dport { 7005, 7006 }",
)
ALL = set(PACKETS)
PROGRAM = f"python3 -c {shlex.quote(SEND)}"


def send(user: str) -> None:
    """A user sends all kinds of packets, outside any unit."""
    t.assertIn("sent", appliance.succeed(f"runuser -u {user} -- {PROGRAM}"))


def unit_send(agent: str) -> None:
    """An agent sends all kinds of packets, inside its unit."""
    status, output = in_unit(appliance, agent, PROGRAM)
    t.assertEqual(status, 0, output)
    t.assertIn("sent", output)


def nothing_of(agent: str) -> None:
    """No packet arrives that an agent sends outside any unit."""
    send(agent)
    t.assertEqual(arrived(appliance, RECEIVERS), set())


def nothing_of_unit(agent: str) -> None:
    """No packet arrives that an agent sends inside its unit."""
    unit_send(agent)
    t.assertEqual(arrived(appliance, RECEIVERS), set())


arrived(appliance, RECEIVERS)

with subtest("outside of a unit the table alone holds an agent's processes, and another user's packets arrive"):
    nothing_of("ephyr-agent-scout")
    nothing_of("ephyr-agent-caller")
    arrives(appliance, RECEIVERS, ALL, lambda: send("nobody"))

with subtest("inside of their units agents reach nobody"):
    nothing_of_unit("worker")
    # It has the host's network, limited to one address and port that nothing here is sent to.
    nothing_of_unit("caller")

with subtest("what is rejected is counted by agent"):
    appliance.wait_until_succeeds(
        "python3 -c \"import json; agents = json.load(open('/run/ephyr-netguard/status.json'))['agents']; "
        "exit(min(a['rejected_packets'] for a in agents if a['agent'] in ('scout', 'caller')) < 10)\"",
        timeout=60,
    )

with subtest("no loopback port hears an agent, the broker's neither, and another user is heard"):
    appliance.succeed(
        "systemd-run --quiet --unit=listen4 nc -lk 127.0.0.1 7004; systemd-run --quiet --unit=listen6 nc -lk ::1 7004; "
        "systemd-run --quiet --unit=listen nc -lk 192.168.1.1 7004"
    )
    doors = ("127.0.0.1 7004", "::1 7004", "192.168.1.1 7004", "127.0.0.1 8554")
    for door in doors:
        appliance.wait_until_succeeds(f"nc -z {door}", timeout=60)
    ask = shlex.quote("; ".join(f"nc -z -w 20 {door} && echo {door}" for door in doors))
    t.assertEqual(appliance.execute(f"runuser -u ephyr-agent-scout -- bash -c {ask}", timeout=120)[1], "")
    t.assertEqual(appliance.succeed(f"runuser -u nobody -- bash -c {ask}"), "".join(f"{door}\n" for door in doors))

STREAM = """
import socket, sys, time
stream = socket.create_connection(("192.168.1.9", int(sys.argv[1])))
while True:
    stream.sendall(b"x")
    time.sleep(0.1)
"""


def streams_until(wanted: set[str]) -> set[str]:
    """Waits until all wanted data has arrived; the packets with data that came."""
    seen: set[str] = set()

    def there(_last: bool) -> bool:
        seen.update(arrived(appliance, [outside]))
        return seen >= wanted

    retry(there, 60)
    return seen - {"without_data"}


with subtest("a connection from before the table ends with the next packet, and another user's goes on"):
    outside.succeed("for port in 7005 7006; do systemd-run --quiet nc -lk $port; done")
    for port in (7005, 7006):
        outside.wait_for_open_port(port, timeout=60)
    # The guard is stopped, so that the table can be missing for a while.
    appliance.succeed("systemctl kill --signal=STOP ephyr-netguard.service; nft delete table inet ephyr")
    for user, port in (("ephyr-agent-scout", 7005), ("nobody", 7006)):
        appliance.succeed(f"systemd-run --quiet --uid={user} --unit=stream{port} python3 -c {shlex.quote(STREAM)} {port}")
    streams_until({"agents_stream", "others_stream"})
    appliance.succeed("systemctl kill --signal=CONT ephyr-netguard.service")
    wait_for_table(appliance)
    arrived(appliance, [outside])
    appliance.wait_until_fails("systemctl is-active stream7005", timeout=60)
    t.assertEqual(streams_until({"others_stream"}), {"others_stream"})
    appliance.succeed("systemctl stop stream7006")

with subtest("without the table, an agent's unit alone holds it, and a process outside of the unit is free"):
    appliance.succeed("systemctl kill --signal=STOP ephyr-netguard.service; nft delete table inet ephyr")
    arrived(appliance, RECEIVERS)
    nothing_of_unit("worker")
    # A unit with `egress` limits addresses and TCP ports; only the table limits it to TCP.
    arrives(appliance, RECEIVERS, {"udp", "ping"}, lambda: unit_send("caller"))
    arrives(appliance, RECEIVERS, ALL, lambda: send("ephyr-agent-worker"))
    appliance.succeed("systemctl kill --signal=CONT ephyr-netguard.service")
    wait_for_table(appliance)
    nothing_of("ephyr-agent-worker")
