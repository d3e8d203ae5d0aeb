"""Reading topologies, scenarios, mutations, apt sources and the page of known skips."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from driver import image, mutation, scenario, topology
from driver.__main__ import HERE, chosen_scenarios, documented_skips, turn_of_commit
from driver.errors import DriverError


def plain(**changes: object) -> dict[str, object]:
    """A node, with what a test changes about it."""
    node: dict[str, object] = {"role": "plain", "addresses": []}
    node.update(changes)
    return node


class FilesTest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def file(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def test_what_is_in_the_tree_can_be_read_and_fits_together(self) -> None:
        topologies = {path.stem: topology.load(path) for path in (HERE / "topologies").glob("*.json")}
        scenarios = {each.name: each for each in scenario.find(HERE / "scenarios", [])}
        for each in scenarios.values():
            self.assertIn(each.topology, topologies, each.name)
            self.assertTrue(each.title(), f"{each.name} has no first sentence")
        for change in mutation.load(HERE / "mutations.json"):
            self.assertIn(change.scenario, scenarios, change.name)
            nodes = {node.name for node in topologies[scenarios[change.scenario].topology].nodes}
            self.assertIn(change.node, nodes, change.name)
            self.assertIn(json.dumps(change.expect), scenarios[change.scenario].path.read_text(), change.name)

    def test_a_topology_is_read(self) -> None:
        node = {"role": "target", "addresses": ["192.168.1.2/24"], "settings": {"target": "web"}}
        made = topology.load(self.file("pair.json", json.dumps({"policy": {"a": 1}, "nodes": {"web": node}})))
        self.assertEqual((made.name, made.policy, made.nodes[0].settings), ("pair", {"a": 1}, {"target": "web"}))
        self.assertEqual(made.hosts(), "192.168.1.2 web\n")

    def test_a_mistake_in_a_topology_is_named(self) -> None:
        cases: tuple[tuple[dict[str, object], str], ...] = (
            ({"a": plain(rôle="x")}, "nodes.a.rôle is not known"),
            ({"a": plain(role="router")}, "nodes.a.role is none of"),
            ({"a": plain(addresses=["1.2.3"])}, "nodes.a.addresses"),
            ({"a": plain(packages="curl")}, "nodes.a.packages is not a list"),
            ({"a": plain(settings={"target": "x"})}, "nodes.a.settings.target is not known"),
            ({"A-1": plain()}, "nodes.A-1 is no name"),
            ({}, "nodes is empty"),
        )
        for nodes, complaint in cases:
            with self.subTest(complaint), self.assertRaisesRegex(DriverError, complaint):
                topology.load(self.file("bad.json", json.dumps({"nodes": nodes})))

    def test_a_scenarios_header_is_read(self) -> None:
        path = self.file("x.py", '# topology: pair\n# boot: cold\n# limit: 70\n"""It works."""\n')
        made = scenario.load(path)
        self.assertEqual((made.topology, made.cold, made.limit, made.title()), ("pair", True, 70, "It works."))
        self.assertFalse(made.core)
        self.assertTrue(scenario.load(self.file("z.py", "# topology: pair\n# core: yes\n")).core)
        plain = scenario.load(self.file("y.py", "# topology: pair\nstart_all()\n"))
        self.assertEqual((plain.cold, plain.limit), (False, scenario.LIMIT))

    def test_the_core_and_a_third_of_the_others_are_in_a_turn_and_three_turns_have_all(self) -> None:
        for name in "abcdefghij":
            self.file(f"{name}.py", "# topology: pair\n" + "# core: yes\n" * (name in "ad"))
        every = scenario.find(self.directory, [])
        turns = [{one.name for one in scenario.in_turn(every, turn)} for turn in (7, 8, 9)]
        for turn in turns:
            self.assertLessEqual({"a", "d"}, turn)
            self.assertIn(len(turn), (4, 5))
        self.assertEqual(set.union(*turns), set("abcdefghij"))
        self.assertEqual(set.intersection(*turns), {"a", "d"})

    def test_what_is_run_is_said_in_one_way(self) -> None:
        every, none = chosen_scenarios([], False, None)
        self.assertEqual(none, [])
        core, others = chosen_scenarios([], True, None)
        self.assertEqual({one.name for one in every}, {one.name for one in (*core, *others)})
        self.assertTrue(core and others and all(one.core for one in core))
        cases: tuple[tuple[list[str], bool, str | None], ...] = (
            (["login"], True, None),
            (["login"], False, "1"),
            ([], True, "1"),
            ([], False, "x"),
        )
        for names, is_core, turn in cases:
            with self.subTest(names=names, core=is_core, turn=turn), self.assertRaises(DriverError):
                chosen_scenarios(names, is_core, turn)

    def test_the_turn_goes_by_the_commit_and_there_is_none_without_git(self) -> None:
        def git(*words: str) -> None:
            identity = ("-c", "user.name=x", "-c", "user.email=x@x.test", "-c", "commit.gpgsign=false")
            subprocess.run(["git", *identity, "-C", str(self.directory), *words], check=True, capture_output=True)

        with mock.patch.dict(os.environ, {"GIT_CEILING_DIRECTORIES": str(self.directory.parent)}):
            self.assertIsNone(turn_of_commit(self.directory))
            if shutil.which("git") is None:
                return
            git("init", "-q", "-b", "main")
            for number in (1, 2, 3):
                git("commit", "-q", "--allow-empty", "-m", "x")
                self.assertEqual(turn_of_commit(self.directory), number)
            git("clone", "-q", "--depth", "1", f"file://{self.directory}", f"{self.directory}/shallow")
            self.assertGreater(turn_of_commit(self.directory / "shallow") or 0, 1000)

    def test_a_scenario_without_a_topology_is_refused(self) -> None:
        for text in ("start_all()\n", "# boot: cold\n# topology: pair\n", "# topology: pair\n# bot: cold\n", "# topology: pair\n# core: no\n"):
            with self.subTest(text), self.assertRaises(DriverError):
                scenario.load(self.file("x.py", text))
        with self.assertRaisesRegex(DriverError, "no scenario 'nothing'"):
            scenario.find(HERE / "scenarios", ["nothing"])

    def test_the_archive_is_the_machines_own(self) -> None:
        self.file(
            "sources.list.d/debian.sources",
            "Types: deb\nURIs: http://archive.test/debian\nSuites: a\n\nTypes: deb\nURIs: http://archive.test/security\n",
        )
        with mock.patch.dict(os.environ, clear=True):
            self.assertEqual(image.archive(self.directory), "http://archive.test/debian")
        with mock.patch.dict(os.environ, {image.MIRROR_VARIABLE: "http://other.test/x"}):
            self.assertEqual(image.archive(self.directory), "http://other.test/x")

    def test_old_sources_are_understood_and_none_is_an_error(self) -> None:
        with mock.patch.dict(os.environ, clear=True):
            path = self.file("sources.list", "deb-src http://no.test/debian a\n")
            with self.assertRaisesRegex(DriverError, image.MIRROR_VARIABLE):
                image.archive(self.directory)
            path.write_text("deb [arch=amd64] http://archive.test/debian/ a main\n")
            self.assertEqual(image.archive(self.directory), "http://archive.test/debian/")

    def test_an_archive_member_is_padded_to_four_bytes(self) -> None:
        entry = image.cpio_entry("init", 0o100755, b"12345")
        self.assertEqual(len(entry) % 4, 0)
        self.assertTrue(entry.startswith(b"070701"))
        self.assertEqual(entry[110:115], b"init\0")
        self.assertEqual(entry[116:121], b"12345")

    def test_known_skips_are_read_from_the_page(self) -> None:
        path = self.file("v.md", "# Page\n- SKIP `io_uring`: no kernel support\n- not a SKIP line: x\n")
        self.assertEqual(documented_skips(path), {"io_uring"})
        self.assertEqual(documented_skips(self.directory / "none.md"), set())

    def test_a_mutation_needs_something_to_change(self) -> None:
        entry = {"name": "n", "what": "w", "scenario": "s", "node": "a", "expect": "e"}
        with self.assertRaises(DriverError):
            mutation.load(self.file("m.json", json.dumps([entry])))
        with self.assertRaises(DriverError):
            mutation.load(self.file("m.json", json.dumps([{**entry, "then": ["true"], "else": []}])))
        [made] = mutation.load(self.file("m.json", json.dumps([{**entry, "then": ["true"]}])))
        self.assertEqual(made.then, ("true",))
