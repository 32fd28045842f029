"""Reads hosts and paths as Python's standard library does, and as servlet containers do.

A line of JSON with `host` and `target` in, a line with a list of readings out: reader, host (null:
as it came), path, and whether escapes in it are still escapes. Each byte of a request is the
character of its number.
"""

import json
import posixpath
import re
import sys
from urllib.parse import unquote_to_bytes, urljoin, urlsplit


def decoded(path):
    return unquote_to_bytes(path.encode("latin-1")).decode("utf-8", "replace")


def resolved(path):
    """Doubled slashes are one; `..` above the root stays at the root."""
    end = "/" if path.endswith(("/", "/.", "/..")) else ""
    path = posixpath.normpath("/" + path.lstrip("/"))
    return path if path == "/" else path + end


def without_parameters(path):
    return "/".join(segment.split(";")[0] for segment in path.split("/"))


def as_library(name, read):
    try:
        parts = read()
        host, path = parts.hostname, parts.path or "/"
    except ValueError:
        return
    yield [name, host, path, True]
    yield [name, host, decoded(path), False]
    yield [name, host, resolved(decoded(path)), False]


def readings(host, target):
    path = re.split("[?#]", target, maxsplit=1)[0]
    yield ["as it came", None, path, True]
    yield from as_library("python urlsplit", lambda: urlsplit(f"http://{host}{target}"))
    yield from as_library("python urlsplit of the target", lambda: urlsplit(target))
    base = f"http://{host}/"
    yield from as_library("python urljoin", lambda: urlsplit(urljoin(base, target)))
    # Parameters of each segment go first, then escapes and dots; or escapes go first, so that an
    # escaped semicolon begins parameters as well.
    cut = without_parameters(path)
    yield ["servlet", None, cut, True]
    yield ["servlet", None, decoded(cut), False]
    yield ["servlet", None, resolved(decoded(cut)), False]
    yield ["servlet that decodes first", None, resolved(without_parameters(decoded(path))), False]


for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(list(readings(request["host"], request["target"]))))
