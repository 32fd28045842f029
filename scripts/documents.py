"""Reads an OpenAPI document by itself and says what requests to it must get: cases for
`keystilectl policy test`. Shares no code with the draft: regular expressions in place of a tree,
and requests that are made of the document's own paths.

    documents.py DOCUMENT DRAFT POLICY CASES    writes the policy of the draft, and the cases
    documents.py --results NAME RESULTS         prints what differs; exits with 1 if something does
    documents.py --empty DOCUMENT               exits with 0 if it has no operation
"""

import itertools
import json
import os
import random
import re
import sys
import urllib.parse

METHODS = ["get", "put", "post", "delete", "options", "head", "patch", "trace", "query"]
ANY = ["x-amazon-apigateway-any-method", "x-yc-apigateway-any-method"]
HOLE = re.compile(r"\{[^{}]*\}")


def load(path):
    with open(path, encoding="utf-8-sig") as file:
        text = file.read()
    if text.lstrip().startswith("{"):
        return json.loads(text)
    import yaml  # not there on every machine, and JSON needs none

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # Dates and the like stay texts.
    loader.yaml_implicit_resolvers = {
        first: [(tag, regex) for tag, regex in all_ if tag != "tag:yaml.org,2002:timestamp"]
        for first, all_ in loader.yaml_implicit_resolvers.items()
    }
    return yaml.load(text, loader)


class Files:
    def __init__(self, path):
        self.root = os.path.abspath(path)
        self.loaded = {}

    def whole(self, path):
        if path not in self.loaded:
            self.loaded[path] = load(path)
        return self.loaded[path]

    def follow(self, node, path):
        """What a node refers to in the end, and the nodes on the way."""
        chain = [(node, path)]
        while isinstance(node, dict) and isinstance(node.get("$ref"), str):
            file, _, pointer = node["$ref"].partition("#")
            if file:
                path = os.path.normpath(os.path.join(os.path.dirname(path), file))
            node = self.whole(path)
            for part in urllib.parse.unquote(pointer).split("/")[1:]:
                part = part.replace("~1", "/").replace("~0", "~")
                node = node[int(part)] if isinstance(node, list) else node[part]
            chain.append((node, path))
            assert len(chain) < 50, "references in a circle"
        return chain


def takes_more(segment, many):
    """Whether it is a parameter for several segments."""
    alone = re.fullmatch(r"\{([^{}]*)\}", segment)
    return bool(alone) and (alone[1].endswith("+") or alone[1] in many)


def segment_regex(segment, many, last):
    if last and takes_more(segment, many):
        return r"[^/]+(?:/[^/]+)*"
    parts = HOLE.split(segment)
    return r"[^/]+".join(re.escape(part) for part in parts)


def servers_of(levels):
    for servers in levels:
        if servers:
            return servers
    return [{"url": ""}]


def bases(server):
    """Host (a regular expression; every one if None) and prefix of each server."""
    url, variables = server.get("url") or "", server.get("variables") or {}
    variables = {k: v for k, v in variables.items() if isinstance(v, dict)}
    listed = [k for k, v in variables.items() if v.get("enum") and "{%s}" % k in url]
    def written(name):
        given, default = variables[name]["enum"], variables[name].get("default")
        return given + [default] * (default not in (None, "", *given))

    for values in itertools.product(*[written(k) for k in listed]):
        text = url
        for name, value in zip(listed, values):
            text = text.replace("{%s}" % name, str(value))
        # A value that is no single segment, or part of one, stands for what it says.
        for name, variable in variables.items():
            given = str(variable.get("default", ""))
            if not given or "/" in given:
                text = text.replace("{%s}" % name, given)
        match = re.match(r"(?:[^/]*:)?//([^/]*)(.*)$", text)
        authority, path = match.groups() if match else ("", text)
        host = re.sub(r":[^:\]]*$", "", authority.split("@")[-1])
        default = {k: str(v.get("default", "")) for k, v in variables.items()}
        fill = lambda t: HOLE.sub(lambda m: default.get(m[0][1:-1], m[0]), t)
        if not host or re.fullmatch(HOLE, host):
            pattern, example = None, "any.example.net"
        elif re.match(r"\{[^{}]*\}\.", host) or "{" in fill(host).split(".")[0]:
            rest = fill(host.split(".", 1)[1]).lower()
            pattern, example = r"[^.]+(?:\.[^.]+)*\." + re.escape(rest), "tenant." + rest
        else:
            example = fill(host).lower()
            pattern = re.escape(example)
        # As a client resolves it against a document at the root of its host.
        path = urllib.parse.urljoin("http://h/", "/" + re.split(r"[?#]", path)[0].lstrip("/"))
        prefix = [s for s in path[len("http://h"):].split("/") if s]
        yield pattern, example, prefix, default


class Operation:
    def __init__(self, method, path, regex, host, example, path_parts, many, security, schemes):
        self.method, self.path, self.host, self.example = method, path, host, example
        self.parts, self.regex = path_parts, regex
        # Text before parameters, from the left; then the more of it.
        self.rank = [
            (0, 0) if not HOLE.search(p)
            else (3, 0) if i == len(path_parts) - 1 and takes_more(p, many)
            else (2, 0) if re.fullmatch(HOLE, p)
            else (1, -len(HOLE.sub("", p)))
            for i, p in enumerate(path_parts)
        ]
        self.needs, self.alternatives = needs(security, schemes)

    def answers(self, host, path):
        hosts = self.host is None or re.fullmatch(self.host, host)
        return hosts and self.regex.fullmatch(path)

    def covers(self, method):
        return self.method in (method, None) or (self.method == "GET" and method == "HEAD")


def needs(security, schemes):
    """`open`, `optional` or `key`, and sets of scopes of which one must be held."""
    if security is None:
        return "key", [set()]
    sets, empty, others = [], False, False
    for requirement in security:
        if not requirement:
            empty = True
            continue
        # Extensions may stand anywhere; a name of a scheme may look like one.
        names = {k: v for k, v in requirement.items() if v is None or isinstance(v, list)}
        keyed = [k for k in names if stands_for_key(schemes.get(k) or {})]
        if keyed:
            sets.append({s for k in keyed for s in names[k] or []})
        else:
            others = True
    if not sets:
        return ("optional" if empty and others else "key" if others else "open"), [set()]
    return ("optional" if empty else "key"), sets


def stands_for_key(scheme):
    kind = scheme.get("type")
    return kind in ("apiKey", "oauth2", "openIdConnect") or (
        kind == "http" and str(scheme.get("scheme")).lower() in ("bearer", "basic")
    )


def operations(path):
    files = Files(path)
    document = files.whole(files.root)
    components = document.get("components") or {}
    schemes = {
        k: files.follow(v, files.root)[-1][0]
        for k, v in (components.get("securitySchemes") or {}).items()
        if isinstance(v, dict)
    }
    for name, item in (document.get("paths") or {}).items():
        if not name.startswith("/"):
            continue
        items = files.follow(item, files.root)
        for node, file in items:
            listed = [(m.upper(), node[m]) for m in METHODS if m in node]
            listed += [(m, o) for m, o in (node.get("additionalOperations") or {}).items()]
            listed += [(None, node[name]) for name in ANY if name in node]
            for method, operation in listed:
                operation, at = files.follow(operation, file)[-1]
                levels = [operation.get("servers")] + [n.get("servers") for n, _ in items]
                parameters = []
                for one in [p for n, _ in items for p in n.get("parameters") or []] + (operation.get("parameters") or []):
                    try:
                        parameters.append(files.follow(one, at)[-1][0])
                    except (OSError, KeyError, IndexError):
                        pass
                many = {p["name"] for p in parameters if p.get("x-multi-segment")}
                security = operation.get("security", document.get("security"))
                for server in servers_of(levels + [document.get("servers")]):
                    for host, example, prefix, _ in bases(server):
                        yield build(method, name, host, example, prefix, many, security, schemes)


def build(method, name, host, example, prefix, many, security, schemes):
    bare = re.split(r"[?#]", re.sub(r"\{[?&][^{}]*\}", "", name))[0]
    parts = prefix + [s for s in bare.split("/") if s]
    regex = "/".join(segment_regex(p, many, i == len(parts) - 1) for i, p in enumerate(parts))
    return Operation(method, name, re.compile("/" + regex + "/?"), host, example, parts, many, security, schemes)


def value(rng):
    return rng.choice(["7", "ab-12", "x_y", "Zed4", "0"]) + rng.choice("abcdefgh") + str(rng.randrange(1000))


def requests(all_, rng):
    """Documented requests, and others that are like them."""
    for operation in all_:
        path = "/" + "/".join(HOLE.sub(lambda _: value(rng), p) for p in operation.parts)
        method = operation.method or "PURGE"
        yield method, operation.example, path
        yield rng.choice(["GET", "POST", "PUT", "PATCH", "DELETE"]), operation.example, path
        yield method, operation.example, path.rstrip("/") + "/" + value(rng)
        yield method, operation.example, path + rng.choice([".json", ".csv", ":x", "...z", "x"])
        cut = path.rsplit("/", 1)[0] or "/"
        yield method, operation.example, cut
        yield method, "elsewhere.example.com", path
        if "." in path.rsplit("/", 1)[1]:
            yield method, operation.example, path.rsplit(".", 1)[0]


def expected(all_, method, host, path):
    """The operations that a request belongs to: the most specific path, whatever its servers are,
    exact hosts first; and whether a more specific path, which lacks the method, asks for a key."""
    def place(o):
        return (0 if o.host and not o.host.startswith("[") else 1 if o.host else 2, -len(o.host or ""))

    def rank(o):
        return o.rank, place(o), 0 if o.method == method else 1

    here = [o for o in all_ if o.answers(host, path)]
    found = [o for o in here if o.covers(method)]
    if not found:
        return None, False
    least = min(rank(o) for o in found)
    before = [o for o in here if o.rank < least[0] and o.needs == "key"]
    return [o for o in found if rank(o) == least], bool(before)


def compare(document, draft, policy, cases):
    with open(draft, encoding="utf-8") as file:
        drafted = json.load(file)
    with open(policy, "w", encoding="utf-8") as file:
        file.write(drafted["policy"])
    rng = random.Random(16)
    all_ = list(operations(document))
    scopes = sorted({s for o in all_ for a in o.alternatives for s in a})
    keys = {"nothing": {"scopes": []}}
    # What a policy cannot write has another name there; the draft says which.
    renamed = {}
    for one in drafted["unsaid"]:
        match = re.match(r"scope `(.*)` is not a valid scope .* it becomes `(.*)`", one["problem"])
        renamed.update({s: match[2] for s in scopes if match and s[:100] == match[1]})
    out, seen = [], set()
    sample = all_ if len(all_) < 3000 else rng.sample(all_, 3000)
    for method, host, path in requests(sample, rng):
        if (method, host, path) in seen or len(path) > 2000:
            continue
        seen.add((method, host, path))
        found, closed = expected(all_, method, host, path)
        request = {"method": method, "path": path, "host": host}
        if found is None:
            out.append({"request": request, "expect": "route_denied"})
            continue
        kinds = {o.needs for o in found}
        # Others may refuse such a method or give it to the looser path: a draft asks for a key.
        if not closed and kinds in ({"open"}, {"optional"}):
            out.append({"request": request, "expect": "ok"})
            continue
        out.append({"request": request, "expect": "missing_api_key"})
        sets = [a for o in found for a in o.alternatives]
        if len(found) == 1 and not any(len(a) == 0 for a in sets):
            out.append({"request": request, "key": "nothing", "expect": "insufficient_scope"})
        name = "k%d" % (len(keys))
        wanted = sorted({renamed.get(s, s) for s in set().union(*sets)})
        known = next((k for k, v in keys.items() if v["scopes"] == wanted), None)
        if known is None:
            keys[name] = {"scopes": wanted}
        out.append({"request": request, "key": known or name, "expect": "ok"})
    with open(cases, "w", encoding="utf-8") as file:
        json.dump({"keys": keys, "cases": out}, file)
    count = len({(o.method, o.path) for o in all_})
    let_in = sum(1 for c in out if c["expect"] == "ok")
    print(
        f"{os.path.basename(document)}: {count} operations, {drafted['operations']} drafted; "
        f"{len(scopes)} scopes, {drafted['scopes']} drafted; {len(seen)} requests, {let_in} let in"
    )
    lost = [s for s in scopes if not names(drafted["policy"], renamed.get(s, s)) and not told(drafted["unsaid"], s)]
    if lost:
        print(f"    scopes lost without a word: {' '.join(lost[:20])}")
    return 0 if count == drafted["operations"] and not lost else 1


def names(policy, scope):
    return json.dumps(scope, ensure_ascii=False) in policy


def told(unsaid, scope):
    """Whether the draft says that it leaves a scope out, by name or for whole operations."""
    problems = [one["problem"] for one in unsaid]
    return any(scope in p.replace("`", " ").split() or "the scopes are not required" in p for p in problems)


def results(name, path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if not text:
        print(f"{name}: the cases could not be run", file=sys.stderr)
        return 1
    found = json.loads(text)
    print(f"{name}: {found['cases']} answers compared, {found['failed']} differ")
    for one in [r for r in found["results"] if not r["passed"]][:20]:
        print(f"    {one['name']}: {one['expected']} by the document, {one['code']} by the policy")
    return 1 if found["failed"] else 0


def run(arguments):
    if arguments[0] == "--results":
        return results(*arguments[1:])
    if arguments[0] == "--empty":
        return 1 if list(operations(arguments[1])) else 0
    return compare(*arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
