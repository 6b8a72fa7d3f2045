"""Compares two answers to one question: what differs, as (aspect, theirs, ours)."""

import re
from fnmatch import fnmatchcase

# What may differ between any two servers, even of one kind: (question, path in the reply).
UNSTABLE = [
    ("grpc/ModelStatistics/*", "*.ns"),
    ("grpc/ModelStatistics/*", "*.last_inference"),
    ("http/*stats*", "*.ns"),
    ("http/*stats*", "*.last_inference"),
    ("*", "*[[]decoupled:*"),  # a model that only Triton has
]
TEXTS = [(re.compile(pattern), text) for pattern, text in [
    (r"localhost:\d+|127\.0\.0\.1:\d+", "HOST"),
    (r"/tmp/[\w/.-]+", "FOLDER"),
]]


def normalised(text):
    for pattern, replacement in TEXTS:
        text = pattern.sub(replacement, text or "")
    return text


def leaves(value, path=""):
    """{path: value}; a path names members, and positions in lists. What has no order goes by its names."""
    found = {}
    if isinstance(value, dict) and value:
        for key, each in value.items():
            found |= leaves(each, f"{path}.{key}")
    elif isinstance(value, list) and value:
        if path.endswith(".versions") or path.endswith(".extensions"):
            return {f"{path}[{each}]": True for each in value}
        models = path in ("", ".models", ".model_stats") and all(isinstance(each, dict) and "name" in each for each in value)
        for position, each in enumerate(value):
            place = f"{each['name']}:{each.get('version', '')}" if models else position
            found |= leaves(each, f"{path}[{place}]")
    else:
        found[path] = value
    return found


def unstable(name, path):
    return any(fnmatchcase(name, question) and fnmatchcase(path, those) for question, those in UNSTABLE)


def same_number(a, b):
    return a == b or (isinstance(a, float) and isinstance(b, float) and a != a and b != b)


def differences(question, theirs, ours):
    if theirs.code != ours.code:
        return [("code", f"{theirs.code} {normalised(theirs.text)}".strip(), f"{ours.code} {normalised(ours.text)}".strip())]
    found = []
    if normalised(theirs.text) != normalised(ours.text):
        found.append(("text", normalised(theirs.text), normalised(ours.text)))
    a, b = leaves(theirs.reply), leaves(ours.reply)
    for path in sorted(a.keys() | b.keys()):
        if unstable(question.name, path):
            continue
        x, y = a.get(path, "(absent)"), b.get(path, "(absent)")
        if isinstance(x, str) and isinstance(y, str):
            x, y = normalised(x), normalised(y)
        if not same_number(x, y):
            found.append((path, str(x), str(y)))
    if question.path:
        x, y = theirs.metadata.get("headers", {}), ours.metadata.get("headers", {})
        for key in sorted(x.keys() | y.keys()):
            if key == "content-type" and not ours.code.startswith("2"):
                continue  # text/plain or JSON, as it happened: clients do not look
            if key == "content-type":
                x, y = ({k: v.partition(";")[0] for k, v in those.items()} for those in (x, y))
            if key == "inference-header-content-length":  # of differently written JSON
                x, y = ({k: "(a length)" for k in those} for those in (x, y))
            if x.get(key) != y.get(key):
                found.append((f"header {key}", str(x.get(key)), str(y.get(key))))
    return found
