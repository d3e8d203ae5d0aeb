#!/usr/bin/env python3
"""Checks the Nix files as far as this machine can; `cargo xtask test --only nix` runs it.

Prints a line per check, `PASS what`, `FAIL what: why` or `SKIP what: why`, then how many of each, and exits
with 1 if any failed. A skip that docs/verification.md does not list is a failure. Nothing here boots or builds
NixOS.

    check.py --ephyr PROGRAM    all checks; PROGRAM is `ephyr`, which renders the units
    check.py --write-options    makes docs/options.md anew (needs EPHYR_NIXPKGS_LIB)

EPHYR_NIXPKGS_LIB   nixpkgs' lib directory: every option is evaluated with a stub of NixOS's own
EPHYR_NIXPKGS       a whole nixpkgs: the module is instantiated in a NixOS configuration
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import builds
from builds import Failed, Skipped

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "nixos-module"
OPTIONS = ROOT / "docs" / "options.md"
VERIFICATION = ROOT / "docs" / "verification.md"

SETTINGS: dict[str, Any] = {
    "package": "/nix/store/00000000000000000000000000000000-ephyr",
    "nft": "/usr/sbin/nft",
    "systemctl": "/elsewhere/systemctl",
    "ca_key": {"file": "/var/lib/secrets/ca_key", "encrypted": True},
    "credentials": {
        "one": {"file": "/var/lib/secrets/one", "encrypted": False},
        "two": {"file": "/var/lib/secrets/two", "encrypted": True},
    },
    "readable": ["/nix/store", "/etc", "/proc"],
    "agents": {
        "inside": {
            "uid": 1501,
            "user": "ephyr-agent-inside",
            "command": ["/bin/sh", "-c", 'echo "$HOME" 100% \\ @agent@ @user@'],
            "egress": [],
        },
        "outside": {
            "uid": 1502,
            "user": "outside",
            "command": ["/bin/true"],
            "egress": [
                {"cidr": "192.0.2.0/24", "port": 443},
                {"cidr": "2001:db8::/32", "port": 53},
                {"cidr": "2001:db9::/32", "port": 443},
            ],
        },
        "by-hand": {"uid": 1503, "user": "by-hand", "command": [], "egress": []},
    },
}

Sections = dict[str, dict[str, list[str]]]


def find(program: str) -> str:
    """Where the program is: in PATH, or among the tools that cargo has installed."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    cargo = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    path = os.pathsep.join(
        [os.environ.get("PATH", ""), str(target / "tools/bin"), str(cargo / "bin")]
    )
    found = shutil.which(program, path=path)
    if found is None:
        raise Skipped(f"{program} is not installed")
    return found


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    """What the command prints; its complaint, if it fails, is why the check failed."""
    words = [str(word) for word in command]
    whole = {**os.environ, **(environment or {})}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=whole)
    if done.returncode != 0:
        raise Failed((done.stderr or done.stdout).strip())
    return done.stdout


def nix(program: str, *arguments: str | Path) -> str:
    """What a program of Nix prints. It has a store of its own, so that neither a daemon nor root's is needed."""
    command = find(program)
    with tempfile.TemporaryDirectory() as state:
        own = {"NIX_STATE_DIR": state, "NIX_REMOTE": f"local?root={state}", "HOME": state}
        return run(command, *arguments, environment=own)


def evaluate(expression: str) -> Any:
    """The value of a Nix expression, forced in full."""
    return json.loads(nix("nix-instantiate", "--eval", "--strict", "--json", "-E", expression))


def nix_files() -> list[Path]:
    """Every Nix file of the repository."""
    ignored = ("target", ".git", "result")
    files = [
        path
        for path in ROOT.rglob("*.nix")
        if not any(part.startswith(ignored) for part in path.relative_to(ROOT).parts)
    ]
    if not files:
        raise Failed("there are no Nix files")
    return sorted(files)


def parse() -> None:
    """Each file is Nix."""
    nix("nix-instantiate", "--parse", *nix_files())


def formatted() -> None:
    """nixfmt would change nothing."""
    run(find("nixfmt"), "--check", *nix_files())


def alive() -> None:
    """Nothing is bound that nobody uses."""
    run(find("deadnix"), "--fail", *nix_files())


def locked() -> None:
    """flake.lock locks what flake.nix asks for, and nothing is fetched to say so."""
    find("nix")

    def metadata(change: tuple[str, str]) -> str:
        with tempfile.TemporaryDirectory() as directory:
            text = (ROOT / "flake.nix").read_text()
            (Path(directory) / "flake.nix").write_text(text.replace(*change))
            shutil.copy(ROOT / "flake.lock", directory)
            return nix(
                "nix",
                "--extra-experimental-features",
                "nix-command flakes",
                "flake",
                "metadata",
                "--offline",
                "--no-update-lock-file",
                "--json",
                f"path:{directory}",
            )

    revision = json.loads((ROOT / "flake.lock").read_text())["nodes"]["nixpkgs"]["locked"]["rev"]
    if revision not in metadata(("", "")):
        raise Failed("flake.lock is not used")
    try:
        metadata(("nixos-26.05", "nixos-26.11"))
    except Failed:
        return
    raise Failed("an input that is not locked goes unnoticed")


def lines(value: Any) -> list[str]:
    """A directive's value as lines of a unit file."""
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, list):
        return [str(item) for item in value]
    return [str(value)]


def by_nix(settings: Path) -> dict[str, Sections]:
    """The units as the module reads them."""
    expression = (
        f"(import {MODULE}/units.nix (builtins.fromJSON (builtins.readFile {settings}))).units"
    )
    units = evaluate(expression)
    return {
        name: {
            section: {key: lines(value) for key, value in directives.items() if value != []}
            for section, directives in sections.items()
        }
        for name, sections in units.items()
    }


def read_unit(path: Path) -> Sections:
    """A unit file's sections."""
    sections: Sections = {}
    section: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


def by_ephyr(ephyr: str, settings: Path, out: Path) -> dict[str, Sections]:
    """The units as `ephyr units render` writes them."""
    run(ephyr, "units", "render", "--settings", settings, "--out", out)
    return {path.name: read_unit(path) for path in (out / "systemd/system").iterdir()}


def difference(one: dict[str, Sections], two: dict[str, Sections]) -> str | None:
    """The first place where they differ."""
    for name in sorted(one.keys() | two.keys()):
        left, right = one.get(name, {}), two.get(name, {})
        for section in sorted(left.keys() | right.keys()):
            a, b = left.get(section, {}), right.get(section, {})
            for key in sorted(a.keys() | b.keys()):
                if a.get(key) != b.get(key):
                    return f"{name} [{section}] {key}: {a.get(key)} is not {b.get(key)}"
    return None


def units_agree(ephyr: str) -> None:
    """Nix and `ephyr units render` read the same in units.toml."""
    find("nix-instantiate")
    with tempfile.TemporaryDirectory() as directory:
        settings = Path(directory) / "settings.json"
        settings.write_text(json.dumps(SETTINGS))
        rendered = by_ephyr(ephyr, settings, Path(directory) / "out")
        found = difference(by_nix(settings), rendered)
        if found is not None:
            raise Failed(found)
        if len(rendered) < 8:
            raise Failed(f"only {len(rendered)} units")
        other = {**SETTINGS, "nft": "/elsewhere/nft"}
        settings.write_text(json.dumps(other))
        if difference(by_nix(settings), rendered) is None:
            raise Failed("the comparison sees no difference where there is one")


def nixpkgs_lib() -> str:
    """nixpkgs' lib, where somebody has it."""
    path = os.environ.get("EPHYR_NIXPKGS_LIB")
    if not path:
        raise Skipped("EPHYR_NIXPKGS_LIB does not say where nixpkgs' lib is")
    return str(Path(path).resolve())


def with_lib(attribute: str) -> Any:
    """A part of evaluate.nix."""
    expression = f"(import {MODULE}/tests/evaluate.nix {{ lib = import {nixpkgs_lib()}; }})"
    return evaluate(f"{expression}.{attribute}")


def judge(case: dict[str, Any]) -> str | None:
    """What is wrong with what a case gave."""
    found, expected = case["found"], case["expected"]
    throws = bool(found.get("throws", False))
    if throws or case["throws"]:
        return None if throws == case["throws"] else f"throws: {throws}"
    failed: list[str] = found["failed"]
    if expected is None:
        return None if not failed else f"refused: {failed}"
    if failed and all(expected in message for message in failed):
        return None
    return f"expected {expected!r}, got {failed}"


def options_evaluated() -> None:
    """Each configuration of cases.nix is taken or refused as it says there, every value forced."""
    results = with_lib("results")
    faults = [
        f"{name}: {fault}"
        for name, case in results.items()
        if (fault := judge(case)) is not None
    ]
    if faults:
        raise Failed("; ".join(faults))
    if not any(case["throws"] or case["expected"] for case in results.values()):
        raise Failed("no case is refused")


def facts() -> None:
    """What the sound configuration comes to."""
    config = with_lib("config")
    services = config["services"]
    expected = {
        "no capabilities are a line, not nothing": services["ephyr-signer"]["serviceConfig"][
            "CapabilityBoundingSet"
        ]
        == "",
        "a changed policy reloads": services["ephyr-broker"]["reloadTriggers"] != []
        and not services["ephyr-broker"]["stopIfChanged"],
        "an agent waits for its firewall": "ephyr-netguard.service"
        in services["ephyr-agent-deploy"]["after"]
        and "ephyr-netguard.service" in services["ephyr-agent-deploy"]["requires"],
        "an agent starts with a firewall that comes up late": services["ephyr-agent-deploy"]["wantedBy"]
        == ["multi-user.target", "ephyr-agents.target"]
        and "ephyr-agents" in config["targets"]
        and services["ephyr-netguard"]["serviceConfig"]["ExecStartPost"].endswith(
            "/bin/systemctl --no-block start ephyr-agents.target"
        ),
        "a reload says what came of it": all(
            services[name]["serviceConfig"]["ExecReload"].startswith("/nix/store/")
            for name in ("ephyr-signer", "ephyr-broker", "ephyr-netguard")
        ),
        "an agent runs as the UID of the policy or not at all": " sandbox --uid 1501 "
        in services["ephyr-agent-deploy"]["serviceConfig"]["ExecStart"],
        "an agent without a command has no unit": "ephyr-agent-manual" not in services,
        "the UID reaches the policy": config["settings"]["agents"]["deploy"]["uid"] == 1501,
        "egress reaches the policy": config["settings"]["agents"]["fetch"]["egress"]
        == [{"cidr": "192.0.2.0/24", "port": 443}],
        "an agent does not linger": config["users"]["ephyr-agent-deploy"]["linger"] is False,
        "without the port the firewall opens none": with_lib("withoutPort")
        == {"EPHYR_MCP_LISTEN": "off"}
        and services["ephyr-netguard"]["environment"] == {},
        "only the broker may ask the signer": config["groups"]["ephyr-signer-clients"]["members"]
        == ["ephyr-broker"],
    }
    wrong = [what for what, holds in expected.items() if not holds]
    if wrong:
        raise Failed("; ".join(wrong))


def flake() -> None:
    """The flake has the outputs that the documents name, and its modules can be imported together."""
    found = with_lib("flake")
    expected = {
        "packages": ["aarch64-linux", "x86_64-linux"],
        "apps": ["aarch64-linux", "x86_64-linux"],
        "checks": ["aarch64-linux", "x86_64-linux"],
        "devShells": ["aarch64-linux", "x86_64-linux"],
        "formatter": ["aarch64-linux", "x86_64-linux"],
        "nixosModules": ["default", "target"],
        "templates": ["default"],
    }
    if found["outputs"] != expected:
        raise Failed(f"outputs: {found['outputs']}")
    if found["both"] != {"failed": []}:
        raise Failed(f"both modules on one host: {found['both']}")
    programs = ["ephyr", "ephyr-broker", "ephyr-cli", "ephyr-demo", "ephyr-netguard", "ephyr-signer"]
    names = {
        "apps": ["appliance-vm", "demo"],
        "checks": sorted(["clippy", "ephyr", "nix-files", "unit-tests", *nixos_tests()]),
        "devShells": ["default"],
        "packages": ["default", *programs],
    }
    if found["overlay"] != ["ephyr"]:
        raise Failed(f"the overlay has {found['overlay']}")
    for output, expected_names in names.items():
        for system, given in found["names"][output].items():
            if given != expected_names:
                raise Failed(f"{output}.{system}: {given}")
    unsound = {
        f"{test}, {machine}: {judged}"
        for test, made in found["tests"].items()
        for machine, judged in made["machines"].items()
        if judged != {"failed": []} or not made["says"]
    }
    if unsound:
        raise Failed("; ".join(sorted(unsound)))


def nixos_tests() -> list[str]:
    """The VM tests that are for NixOS: every scenario but those that say otherwise."""
    files = (ROOT / "vm-tests/scenarios").glob("*.py")
    return [file.stem for file in files if "# only: debian" not in file.read_text().splitlines()[:4]]


def template(ephyr: str) -> None:
    """The template's machines are sound once keys and hardware are filled in, and what they need can be built."""
    nixpkgs_lib()
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIBFb0pR5mR0UgbYKcqoUIkxBSF1sNaC/hxrFKJ9XBTHE"
    with builds.builder(ephyr) as make:
        directory = make.directory / "template"
        shutil.copytree(ROOT / "templates/default", directory)
        for file in directory.iterdir():
            file.write_text(file.read_text().replace("AAAA…", key))
        for host in ("appliance", "web"):
            (directory / f"hardware-{host}.nix").write_text("{ }\n")
        machines = with_lib(f"template {directory}")
        for name, machine in machines.items():
            if machine["found"] != {"failed": []}:
                raise Failed(f"{name}: {machine['found']}")
            make.text(machine["keys"])
            for recipe in [machine["policy"], *machine["targets"].values()]:
                make.must_build(recipe)
        if not machines["appliance"]["enable"] or "ephyr" not in machines["web"]["targets"]:
            raise Failed("there is no appliance, or no target")


def throw_away(ephyr: str) -> None:
    """The throw-away appliance is sound, and its own target: both lists of CA keys are the one that it makes."""
    machine = with_lib("throwAway")
    if machine["found"] != {"failed": []}:
        raise Failed(str(machine["found"]))
    with builds.builder(ephyr) as make:
        make.text(machine["keys"])
        policy = make.must_build(machine["policy"]) / "policy.yaml"
        make.must_build(machine["target"])
        agent = json.loads(policy.read_text())["agents"]["visitor"]
    builds.expect(
        {
            "its agent may use it": agent["ssh"]["self"]["roles"] == ["read"],
            "it has an sshd": machine["enable"],
            "nothing trusts the placeholder": sorted(machine["lists"])
            == ["ephyr/ca.pub", "ssh/ephyr/ephyr/ca.pub"],
        }
    )


def options_page(declared: list[dict[str, Any]]) -> str:
    """docs/options.md, made of the declarations."""
    parts = [
        "# Options of the NixOS module",
        "Made of the declarations in `nixos-module/` by `nixos-module/tests/check.py --write-options`.",
    ]
    for option in sorted(declared, key=lambda one: str(one["name"])):
        parts.append(f"## `{option['name']}`")
        parts.append(option["description"].strip())
        parts.append(f"Type: {option['type']}")
        for word in ("default", "example"):
            text = option[word]
            if text is None:
                continue
            if "\n" in text.strip():
                parts.append(f"{word.capitalize()}:\n\n```nix\n{text.strip()}\n```")
            else:
                parts.append(f"{word.capitalize()}: `{text.strip()}`")
    return "\n\n".join(parts) + "\n"


def options_documented(declared: str | None) -> None:
    """docs/options.md says what the declarations say."""
    options = json.loads(Path(declared).read_text()) if declared else with_lib("options")
    if OPTIONS.read_text() != options_page(options):
        raise Failed("docs/options.md is not up to date: check.py --write-options makes it anew")


def in_full() -> None:
    """A NixOS configuration with the module is instantiated by nixpkgs itself."""
    nixpkgs = os.environ.get("EPHYR_NIXPKGS")
    if not nixpkgs:
        raise Skipped("EPHYR_NIXPKGS does not say where nixpkgs is")
    run(
        find("nix-instantiate"),
        MODULE / "tests/in-full.nix",
        "--arg",
        "nixpkgs",
        str(Path(nixpkgs).resolve()),
        "--no-gc-warning",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ephyr", help="the program that renders the units")
    parser.add_argument("--declared", help="the options of evaluate.nix, already evaluated")
    parser.add_argument("--write-options", action="store_true")
    arguments = parser.parse_args()
    if arguments.write_options:
        OPTIONS.write_text(options_page(with_lib("options")))
        return 0
    if not arguments.ephyr:
        parser.error("--ephyr says which program renders the units")
    checks = {
        "every Nix file can be parsed": parse,
        "nixfmt": formatted,
        "deadnix": alive,
        "flake.lock": locked,
        "Nix and ephyr read the same units": lambda: units_agree(arguments.ephyr),
        "options evaluated": options_evaluated,
        "options evaluated, what they come to": facts,
        "options evaluated, with the flake's own modules": flake,
        "the template's machines": lambda: template(arguments.ephyr),
        "the throw-away appliance": lambda: throw_away(arguments.ephyr),
        "the policy, built": lambda: builds.policies(arguments.ephyr, with_lib("builds")),
        "a target, built": lambda: builds.target_files(arguments.ephyr, with_lib("builds")),
        "a target's sshd": lambda: builds.target_sshd(arguments.ephyr, with_lib("builds")),
        "a target's sshd, asked": lambda: builds.target_sshd_check(
            arguments.ephyr, with_lib("builds")
        ),
        "a target's sudo": lambda: builds.target_sudo(arguments.ephyr, with_lib("builds")),
        "docs/options.md is up to date": lambda: options_documented(arguments.declared),
        "the module in full": in_full,
    }
    listed = VERIFICATION.read_text()
    passed = failed = skipped = 0
    for what, check in checks.items():
        try:
            check()
            passed += 1
            print(f"PASS {what}")
        except Skipped as why:
            skipped += 1
            print(f"SKIP {what}: {why}")
            if f"- SKIP {what}: " not in listed:
                failed += 1
                print(f"FAIL {what}: docs/verification.md does not list that it may be skipped")
        except Failed as why:
            failed += 1
            print(f"FAIL {what}: {why}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
