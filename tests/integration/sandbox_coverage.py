#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the system calls of a running monitor with the sandbox's table (src/vmm/sandbox/rules.def).

Fails when a thread makes a call that its class may not make, and when no thread of a class ever
needed a rule: an unused rule is attack surface for nothing.

  strace -ff -e trace=all -e 'raw=!prctl' -o DIR/trace vmm run --sandbox log ...
  dump-rules > rules.tsv
  sandbox_coverage.py --rules rules.tsv [--accept FILE] DIR [DIR...]

Log mode lets a forbidden call pass, so that one run shows all of them. Only calls after a thread
installed its filter count. A thread's class follows from its name (prctl PR_SET_NAME) by --thread;
the thread that never names itself is "main". Several traces (a boot, a reset, a block device, ...)
are taken together. --accept names a file of rules that a run cannot reach, one a line as
"class syscall condition", with # comments that say why; an entry that was reached after all fails.
"""

import argparse
import fnmatch
import pathlib
import re
import sys

CALL = re.compile(r"^(?:\d+(?:\.\d+)?\s+)?(\w+)\((.*)$")
SET_NAME = re.compile(r'^PR_SET_NAME, "((?:[^"\\]|\\.)*)"')
SECCOMP_SET_MODE_FILTER = 1
DEFAULT_THREADS = ["vcpu*=vcpu", "io*=io", "blk*=worker", "main=main"]


class Rule:
    def __init__(self, line):
        fields = line.rstrip("\n").split("\t")
        self.thread_class, self.syscall, _, arg, mask, value, self.condition, self.why = fields
        self.arg = None if arg == "-" else int(arg)
        if self.arg is not None:
            self.mask, self.value = int(mask, 0), int(value, 0)

    def matches(self, syscall, args):
        if syscall != self.syscall:
            return False
        if self.arg is None:
            return True
        return self.arg < len(args) and args[self.arg] & self.mask == self.value

    def key(self):
        return f"{self.thread_class} {self.syscall} {self.condition}"


def parse_args(text):
    """Raw arguments: numbers separated by commas up to the closing parenthesis."""
    args = []
    for word in re.split(r"[,)]", text):
        try:
            args.append(int(word.strip(), 0))
        except ValueError:
            break
    return args


def read_thread(path):
    """Yields ("name", NAME), then the (syscall, args) that came after the filter."""
    name, filtered, calls = None, False, []
    for line in path.read_text(errors="replace").splitlines():
        match = CALL.match(line)
        if not match:  # signals, exits
            continue
        syscall, rest = match.groups()
        if syscall == "prctl":
            named = SET_NAME.match(rest)
            if named and not filtered:
                name = named.group(1)
        args = parse_args(rest)
        if filtered:
            calls.append((syscall, args))
        elif syscall == "seccomp" and args[:1] == [SECCOMP_SET_MODE_FILTER]:
            filtered = True
    return name or "main", filtered, calls


def class_of(name, mapping):
    for pattern, thread_class in mapping:
        if fnmatch.fnmatchcase(name, pattern):
            return thread_class
    return None


def read_accepted(path):
    if path is None:
        return set()
    lines = (line.split("#", 1)[0].strip() for line in path.read_text().splitlines())
    return {line for line in lines if line}


def describe(syscall, args):
    return f"{syscall}({', '.join(hex(a) for a in args)})"


def check_threads(directories, rules, mapping):
    """Returns the problems found, the keys of the rules used, and the classes seen."""
    problems, used, seen = [], set(), set()
    for path in sorted(p for d in directories for p in d.iterdir() if p.is_file()):
        name, filtered, calls = read_thread(path)
        if not filtered:
            continue
        thread_class = class_of(name, mapping)
        if thread_class is None:
            problems.append(f"{path}: thread '{name}' has no class")
            continue
        seen.add(thread_class)
        forbidden = set()
        for syscall, args in calls:
            hits = {r.key() for r in rules
                    if r.thread_class == thread_class and r.matches(syscall, args)}
            used |= hits
            if not hits:
                forbidden.add(describe(syscall, args[:4]))
        problems += [f"{name}: {call} is not allowed for {thread_class}"
                     for call in sorted(forbidden)]
    return problems, used, seen


def check_rules(rules, used, seen, accepted):
    problems = [f"no thread of class {c} installed a filter"
                for c in sorted({r.thread_class for r in rules} - seen)]
    for rule in rules:
        if rule.key() in accepted:
            if rule.key() in used:
                problems.append(f"accepted as unused, but used: {rule.key()}")
        elif rule.key() not in used:
            problems.append(f"never used: {rule.key()}  # {rule.why}")
    problems += [f"accepted, but not in the table: {key}"
                 for key in sorted(accepted - {r.key() for r in rules})]
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rules", type=pathlib.Path, required=True, help="output of dump-rules")
    parser.add_argument("--accept", type=pathlib.Path, help="rules that these runs cannot reach")
    parser.add_argument("--thread", action="append", metavar="PATTERN=CLASS",
                        help=f"default: {' '.join(DEFAULT_THREADS)}")
    parser.add_argument("trace", type=pathlib.Path, nargs="+", help="folder of strace -ff files")
    options = parser.parse_args()
    mapping = [m.split("=", 1) for m in options.thread or DEFAULT_THREADS]
    rules = [Rule(line) for line in options.rules.read_text().splitlines() if line]

    problems, used, seen = check_threads(options.trace, rules, mapping)
    problems += check_rules(rules, used, seen, read_accepted(options.accept))
    for problem in problems:
        print(problem)
    print(f"{len(used)} of {len(rules)} rules used, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
