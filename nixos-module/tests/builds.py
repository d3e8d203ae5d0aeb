"""What the module builds, built without Nix: the scripts of its derivations run here, with `ephyr`, and what they
make is compared with what the configuration says, and given to this system's own sshd and sudo.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Failed(Exception):
    """A check failed, for this reason."""


class Skipped(Exception):
    """A check cannot be made here, for this reason."""


def need(program: str) -> str:
    """Where a program is that these checks run."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(program, path=path)
    if found is None:
        raise Skipped(f"{program} is not installed")
    return found


@dataclass
class Built:
    """What a recipe gave."""

    ok: bool
    log: str
    out: Path


class Builder:
    """Runs recipes as Nix's builder would, in a directory of its own."""

    def __init__(self, ephyr: str, directory: Path) -> None:
        self.directory = directory
        self.path = os.pathsep.join([str(Path(ephyr).resolve().parent), os.environ["PATH"]])
        need("jq")
        # Paths of the store, and where what they stand for lies here.
        self.places: dict[str, Path] = {}

    def text(self, made: dict[str, str]) -> None:
        """A file of the store."""
        file = self.directory / Path(made["path"]).name
        file.write_text(made["text"])
        self.places[made["path"]] = file

    def placed(self, text: str) -> str:
        """The same text, its paths of the store as they are here."""
        for store, place in self.places.items():
            text = text.replace(store, str(place))
        return text

    def build(self, recipe: dict[str, Any]) -> Built:
        """Runs the script of a derivation."""
        work = Path(tempfile.mkdtemp(dir=self.directory))
        out = work / "out"
        given = dict(recipe["environment"])
        files = given.pop("passAsFile", [])
        given.pop("nativeBuildInputs")
        environment = {"PATH": self.path, "HOME": str(work), "out": str(out)}
        for name, value in given.items():
            if name in files:
                (work / f".{name}").write_text(value)
                environment[f"{name}Path"] = str(work / f".{name}")
            else:
                environment[name] = value
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", self.placed(recipe["script"])],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.places[recipe["path"]] = out
        return Built(done.returncode == 0, done.stdout + done.stderr, out)

    def must_build(self, recipe: dict[str, Any]) -> Path:
        """The same, for what has to succeed."""
        built = self.build(recipe)
        if not built.ok:
            raise Failed(f"{recipe['path']}: {built.log.strip()}")
        return built.out


@contextmanager
def builder(ephyr: str) -> Iterator[Builder]:
    """A builder, for as long as it is used."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Builder(ephyr, Path(directory))


def expect(facts: dict[str, bool]) -> None:
    """All of it holds."""
    wrong = [what for what, holds in facts.items() if not holds]
    if wrong:
        raise Failed("; ".join(wrong))


def policies(ephyr: str, builds: dict[str, Any]) -> None:
    """A sound policy is built, one with warnings too, and a mistake fails the build with its key."""
    with builder(ephyr) as make:
        out = make.must_build(builds["policy"])
        policy = json.loads((out / "policy.yaml").read_text())
        warned = make.build(builds["policies"]["warned"])
        wrong = make.build(builds["policies"]["wrong"])
        expect(
            {
                "the policy names its agents": policy["agents"]["deploy"]["uid"] == 1501,
                "the firewall is compiled": "1501" in (out / "nft/ephyr.nft").read_text(),
                "the target is compiled": (out / "targets/web.json").is_file(),
                f"warnings are no failure: {warned.log}": warned.ok,
                "warnings are in the log": "warning" in warned.log,
                f"a mistake fails: {wrong.log}": not wrong.ok and "rolse" in wrong.log,
            }
        )


class Target:
    """The target that says all that a target can say, built."""

    def __init__(self, make: Builder, made: dict[str, Any]) -> None:
        self.make = make
        self.made = made
        self.trees: dict[str, Path] = {}
        for name, authority in made["authorities"].items():
            make.text(authority["keys"])
            self.trees[name] = make.must_build(authority["recipe"])

    def rendered(self, name: str) -> dict[str, Any]:
        """What the program makes for it."""
        made: dict[str, Any] = json.loads((self.trees[name].parent / "target.json").read_text())
        return made

    def accounts(self) -> list[dict[str, Any]]:
        """The accounts of all authorities, `root` left out."""
        return [
            account | {"authority": name}
            for name in self.trees
            for account in self.rendered(name)["accounts"]
            if account["name"] != "root"
        ]


def target_files(ephyr: str, builds: dict[str, Any]) -> None:
    """Accounts, files and homes of a NixOS target are those that `ephyr target render` means."""
    with builder(ephyr) as make:
        target = Target(make, builds["target"])
        users, etc = target.made["users"], target.made["etc"]
        facts = {}
        for account in target.accounts():
            name = account["name"]
            user = users[name]
            shell = account["shell"].replace("/bin/bash", "/run/current-system/sw/bin/bash")
            facts[f"{name} is as rendered: {user}"] = (
                user["home"] == account["home"]
                and user["shell"] == shell
                and user["isSystemUser"] == account["system"]
                and user["isNormalUser"] != account["system"]
                and user["description"] == f"Ephyr role ({account['authority']})"
                and user["hashedPassword"] == "*"
                and user["linger"] is False
                and not user["createHome"]
                and not user["autoSubUidGidRange"]
            )
        roles = {user for user in users if users[user]["description"].startswith("Ephyr role")}
        facts["nobody else is made"] = roles == {account["name"] for account in target.accounts()}
        facts["root stays as it is"] = "root" not in users
        facts["who may log in at all is said"] = any(
            "AllowGroups" in text for text in target.made["warnings"]
        )
        made = target.made["tmpfiles"]["ephyr-target"]
        for name in target.trees:
            for file in target.rendered(name)["files"]:
                path = file["path"]
                entry = etc.get(path.removeprefix("/etc/"))
                if file.get("keep"):
                    facts[f"{path} is made once"] = "f" in made[path]
                elif path.startswith("/etc/ssh/ephyr/"):
                    facts[f"{path} is there"] = (
                        entry is not None
                        and ("principals" not in path or entry["mode"] == "0444")
                        and Path(make.placed(entry["source"])).read_text() == file["content"]
                    )
        expect(facts)

        recipe = builds["target"]["authorities"]["ephyr"]["recipe"]
        environment = recipe["environment"] | {"accounts": json.dumps(["agent-read"])}
        refused = make.build(recipe | {"environment": environment})
        facts = {"other accounts fail": not refused.ok and "not those" in refused.log}
        names = {account["name"] for account in target.accounts()}
        for service, directory in (("cron", "/var/cron"), ("atd", "/etc/at")):
            denied = deny(make, target.made["deny"][service], directory)
            facts[f"{service} is for none of them: {denied}"] = set(denied) == {"carol", *names}
            facts[f"{service} names each once"] = len(denied) == len(set(denied))
        (make.directory / "cron/cron.allow").touch()
        (make.directory / "cron/cron.deny").unlink()
        facts["a list of who may is left alone"] = deny(make, target.made["deny"]["cron"], "/var/cron") == [
            "carol"
        ]
        expect(facts)


def deny(make: Builder, script: str, directory: str) -> list[str]:
    """Who may not, once the service was started twice."""
    here = make.directory / Path(directory).name
    here.mkdir(exist_ok=True)
    file = here / f"{here.name}.deny"
    file.write_text("carol\n")
    for _ in range(2):
        subprocess.run(["bash", "-euc", script.replace(directory, str(here))], check=True)
    return file.read_text().split()


NIXOS = """
HostKey {key}
UsePAM yes
AuthorizedPrincipalsFile none
PasswordAuthentication yes
KbdInteractiveAuthentication yes
X11Forwarding no
AuthorizedKeysFile %h/.ssh/authorized_keys /etc/ssh/authorized_keys.d/%u
"""


def effective(config: Path, user: str) -> dict[str, str]:
    """What sshd would do for an account."""
    done = subprocess.run(
        [need("sshd"), "-T", "-f", config, "-C", f"user={user},host=localhost,addr=127.0.0.1"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Failed(f"sshd -T: {done.stderr.strip()}")
    pairs = (line.partition(" ") for line in done.stdout.splitlines())
    return {key: value for key, _, value in pairs}


def target_sshd(ephyr: str, builds: dict[str, Any]) -> None:
    """This system's sshd reads in the configuration what the accounts need, and nothing else for anyone else."""
    need("sshd")
    if not Path("/run/sshd").is_dir():
        if os.geteuid() != 0:
            raise Skipped("sshd wants /run/sshd even to check, and only root can make it")
        Path("/run/sshd").mkdir(mode=0o755)
    with builder(ephyr) as make:
        target = Target(make, builds["target"])
        key = make.directory / "host_key"
        subprocess.run([need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        before, after = make.directory / "before", make.directory / "after"
        includes, own = target.made["sshd"].split("Match User alice")
        own = "PermitUserEnvironment no\nMatch User alice" + own
        before.write_text(NIXOS.format(key=key) + own)
        # Settings ordered after it, outside of blocks, are global.
        after.write_text(
            NIXOS.format(key=key) + make.placed(includes) + "\nMaxSessions 7\n" + own
        )
        facts = {}
        for account in target.accounts() + [{"name": "root", "authority": "ephyr"}]:
            found = effective(after, account["name"])
            where = f"/etc/ssh/ephyr/{account['authority']}"
            facts[f"{account['name']} comes by certificate: {found}"] = (
                found["trustedusercakeys"] == f"{where}/ca.pub"
                and found["authorizedprincipalsfile"] == f"{where}/principals/%u"
                and found["revokedkeys"]
                == f"/var/lib/ephyr-target/{account['authority']}.revoked_keys"
            )
            closed = account["name"] != "root"
            facts[f"{account['name']} comes by nothing else"] = closed == (
                found["passwordauthentication"] == "no" and found["authorizedkeysfile"] == "none"
            )
            facts[f"{account['name']} runs what its certificate says"] = (
                found["forcecommand"] == ("none" if closed else "/bin/echo hi")
            )
            facts[f"{account['name']} takes no variables"] = not closed or (
                found.get("acceptenv") == "EPHYR_NONE" and found.get("setenv") == "EPHYR_NONE=none"
            )
            pty = "yes" if account["name"] in ("root", "agent-operate") else "no"
            facts[f"{account['name']} has what its role says"] = found["permittty"] == pty
        for user in ("alice", "bob"):
            was, now = effective(before, user), effective(after, user)
            facts["what stands behind it is for everybody"] = now.pop("maxsessions") == "7"
            was.pop("maxsessions")
            facts[f"{user} logs in as before"] = was == now
        facts["the operator's block counts"] = (
            effective(after, "alice")["passwordauthentication"] == "no"
        )
        expect(facts)


def target_sshd_check(ephyr: str, builds: dict[str, Any]) -> None:
    """A setting that overrides the accounts' block fails the build, with its line."""
    need("sshd")
    if os.geteuid() != 0:
        raise Skipped("OpenSSH before 9.3 prints a configuration for root alone")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with builder(ephyr) as make:
        target = Target(make, builds["target"])
        key = make.directory / "host_key"
        subprocess.run([need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        config = make.directory / "sshd_config"
        make.places[target.made["sshdConfig"]] = config
        sshd = make.placed(target.made["sshd"])
        # A role of the first appliance is root, which the operator's block matches too.
        ours, others = target.made["checks"]
        lines = NIXOS.format(key=key).count("\n")

        def built(recipe: dict[str, Any], before: str, behind: str) -> Built:
            config.write_text(NIXOS.format(key=key) + before + sshd + behind)
            return make.build(recipe)

        good = built(others, "", "Match LocalPort 22\nForceCommand /bin/echo hi\n")
        root = built(ours, "", "")
        early = built(others, "Match Address 10.0.0.0/8\nPermitTTY yes\nMatch all\n", "")
        late = built(others, "", "Match User other-*\nAcceptEnv *\n")
        gate = built(others, "AllowUsers alice\n", "")
        last = lines + sshd.count("\n") + 2
        expect(
            {
                f"blocks behind ours change nothing: {good.log}": good.ok,
                f"what is forced on root is refused: {root.log}": not root.ok
                and "ForceCommand" in root.log,
                f"an earlier block is refused: {early.log}": not early.ok
                and f"{config}:{lines + 2}: PermitTTY" in early.log,
                f"variables of a later block are refused: {late.log}": not late.ok
                and f"{config}:{last}: AcceptEnv" in late.log,
                f"a list without the account is refused: {gate.log}": not gate.ok
                and "allowusers does not name it" in gate.log,
            }
        )


def target_sudo(ephyr: str, builds: dict[str, Any]) -> None:
    """This system's visudo takes the rules, and they stand last."""
    visudo = need("visudo")
    with builder(ephyr) as make:
        target = Target(make, builds["target"])
        text = make.placed(target.made["sudo"])
        rules = make.directory / "sudoers"

        def accepted() -> bool:
            rules.write_text(text)
            done = subprocess.run([visudo, "-cf", rules], capture_output=True, check=False)
            return done.returncode == 0

        facts = {
            "visudo takes them": accepted(),
            "the operator's stand first": text.startswith("alice"),
            "both appliances' are there": text.count("@include") == 2,
        }
        (target.trees["ephyr"] / "etc/sudoers.d/ephyr-ephyr").write_text("nonsense\n")
        facts["it reads what is included"] = not accepted()
        expect(facts)
