"""Tests of release_notes.py: python3 -m unittest discover .ci"""

import pathlib
import subprocess
import sys
import unittest

from release_notes import Missing, notes

CHANGELOG = """# Changelog

About it.

## Unreleased

- Later.

## 1.1.0 - 2026-11-27

### Added

- A thing, with `## 9.9.9` in its text.

## [1.0.0] - 2026-01-02

- The first.

## 0.9.0
"""


class Notes(unittest.TestCase):
    def test_a_section_ends_before_the_next(self):
        self.assertEqual(notes(CHANGELOG, "1.1.0"), "### Added\n\n- A thing, with `## 9.9.9` in its text.\n")
        self.assertEqual(notes(CHANGELOG, "1.0.0"), "- The first.\n")

    def test_a_version_is_not_found_by_a_part_of_it(self):
        for version in ["1", "1.0", "1.0.00", "9.9.9", "1.1.0 ", ""]:
            with self.assertRaisesRegex(Missing, "there are: Unreleased, 1.1.0, 1.0.0, 0.9.0"):
                notes(CHANGELOG, version)

    def test_an_empty_section_is_no_release(self):
        with self.assertRaisesRegex(Missing, "empty"):
            notes(CHANGELOG, "0.9.0")

    def test_the_changelog_of_the_repository_is_understood(self):
        folder = pathlib.Path(__file__).parent
        command = [sys.executable, folder / "release_notes.py", "Unreleased", folder.parent / "CHANGELOG.md"]
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("### Changed", result.stdout)
        command[2] = "v999.0.0"
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("no section `## 999.0.0`", result.stderr)


if __name__ == "__main__":
    unittest.main()
