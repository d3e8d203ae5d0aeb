# topology: site
"""A clock jump opens no access: tasks and certificates follow the new time, and new ones work at once."""

start_all()
wait_for_appliance(appliance)


def create() -> str:
    return appliance.succeed(as_agent("worker", "ephyr task create --description x --ttl 30m --token-only")).strip()


def use(token: str) -> str:
    return as_agent("worker", f"EPHYR_TOKEN={token} ephyr exec web --role read -- 'id -un' 2>&1")


def jump(seconds: int) -> None:
    for machine in (appliance, web):
        machine.succeed(f"date -s @$(( $(date +%s) + {seconds} ))")


token = create()
t.assertEqual(runs(appliance, use(token)), "agent-read\n")

with subtest("an hour forward ends the old task, and a new one works"):
    jump(3600)
    exits(appliance, use(token), 77)
    wait_for_appliance(appliance)
    fresh = appliance.wait_until_succeeds(
        as_agent("worker", "ephyr task create --description x --token-only"), timeout=180
    ).strip()
    t.assertEqual(runs(appliance, use(fresh)), "agent-read\n")

with subtest("back again revives nothing that has ended"):
    jump(-3600)
    exits(appliance, use(token), 77)

with subtest("and work goes on"):
    wait_for_appliance(appliance)
    appliance.wait_until_succeeds(exec_as("scout", "web", "read", "id -un"), timeout=180)
    t.assertEqual(runs(appliance, use(create())), "agent-read\n")

with subtest("a target whose clock is wrong refuses, and takes the next one when it is right"):
    web.succeed("date -s @$(( $(date +%s) + 7200 ))")
    exits(appliance, exec_as("scout", "web", "read", "id -un"), 69, says="refused the certificate")
    same_time(web, appliance)
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")

with subtest("the audit log verifies over all jumps"):
    log_is_whole(appliance)
