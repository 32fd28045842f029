"""Runs what envoy/compose.yaml describes, without Docker: `scripts/package containers` starts this as root
in namespaces of its own, with two images as folders in the layout of OCI.

Each service runs in the unpacked image (chroot), as the image's user, with the commands, variables,
volumes, health checks and order of the file; all share one network, in which the names of services lead to
127.0.0.1. Prometheus is this machine's. Grafana is not run. Then a key is issued, used and revoked, everything
is started a second time, the native module is loaded, and a backup is made as the job of `render kubernetes` makes it."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from ruamel.yaml import YAML

FILE = pathlib.Path("envoy/compose.yaml")
API = "http://127.0.0.1:10000"
PATIENCE = 50
# One that every server has.
METRIC = "keystile_control_keyset_version"


def main():
    images = {"keystilectl": sys.argv[1], "keystile-envoy": sys.argv[2]}
    loopback()
    work = pathlib.Path(tempfile.mkdtemp(prefix="containers-", dir="target"))
    stack = Stack(work.resolve(), {name: Image(folder, work.resolve() / name) for name, folder in images.items()})
    try:
        stack.up()
        key = stack.key_is_accepted()
        stack.module_is_loaded()
        stack.metrics_arrive()
        stack.down()
        stack.up()
        stack.key_still_is(key)
        stack.down()
        stack.backup()
    except BaseException:
        stack.logs()
        raise
    finally:
        stack.down()
        stack.unmount()
        shutil.rmtree(work)


class Image:
    """Unpacked, with what it says about itself."""

    def __init__(self, folder, root):
        blobs = pathlib.Path(folder) / "blobs/sha256"
        read = lambda digest: json.loads((blobs / digest.split(":")[1]).read_text())
        (entry,) = json.loads((pathlib.Path(folder) / "index.json").read_text())["manifests"]
        manifest = read(entry["digest"])
        self.config = read(manifest["config"]["digest"])["config"]
        self.root = root
        root.mkdir()
        for layer in manifest["layers"]:
            run(["tar", "-xzpf", blobs / layer["digest"].split(":")[1], "-C", root])


class Stack:
    def __init__(self, work, images):
        self.work, self.images = work, images
        self.compose = YAML(typ="safe").load(filled_in(FILE.read_text()))
        self.services = self.compose["services"]
        self.running, self.mounted = {}, []
        # For Prometheus, too, in the mounts of this process.
        self.hosts = work / "hosts"
        self.hosts.write_text(f"127.0.0.1 localhost {' '.join(self.services)}\n")
        self.mount("--bind", self.hosts, "/etc/hosts")

    def image(self, service):
        name = self.services[service]["image"].split("/")[-1].split(":")[0]
        return self.images.get(name)

    def up(self):
        done = set()
        while len(done) < len(self.services):
            ready = [name for name, s in self.services.items()
                     if name not in done and set(s.get("depends_on", {})) <= done]
            assert ready, "services wait for each other"
            for name in ready:
                for other, how in self.services[name].get("depends_on", {}).items():
                    self.wait_for(other, how["condition"])
                if name == "prometheus":
                    self.start_prometheus()
                elif self.image(name):
                    self.start(name)
                done.add(name)
        self.wait_for("envoy", "service_healthy")

    def start(self, name):
        service, image = self.services[name], self.image(name)
        command = service.get("entrypoint", image.config["Entrypoint"]) + service.get("command", [])
        log = open(self.work / f"{name}.log", "ab")
        self.running[name] = subprocess.Popen(self.inside(name, command), stdout=log, stderr=log,
                                              env=self.environment(name), start_new_session=True)

    def environment(self, name):
        image = dict(v.split("=", 1) for v in self.image(name).config["Env"])
        return image | self.services[name].get("environment", {})

    def inside(self, name, command):
        return [shutil.which("chroot"), f"--userspec={self.image(name).config['User']}", self.root(name), *command]

    def root(self, name):
        """The service's file system: the image, read-only, its volumes, /tmp, /dev and /proc."""
        root = self.work / f"{name}.root"
        if root.exists():
            return root
        service, image = self.services[name], self.image(name)
        root.mkdir()
        for folder in ("dev", "proc"):
            (image.root / folder).mkdir(exist_ok=True)
        shutil.copy(self.hosts, image.root / "etc/hosts")
        mounts = [v.split(":") for v in service.get("volumes", [])]
        for _, path, *_ in mounts:
            # A runtime makes the folder, as root's.
            (image.root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        self.mount("--bind", image.root, root)
        for volume, path, *mode in mounts:
            place = root / path.lstrip("/")
            self.mount("--bind", self.volume(volume, place), place)
            if mode == ["ro"]:
                run(["mount", "-o", "remount,bind,ro", place])
        for path in service.get("tmpfs", []):
            self.mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / path.lstrip("/"))
        self.mount("--rbind", "/dev", root / "dev")
        self.mount("-t", "proc", "proc", root / "proc")
        assert service["read_only"], f"{name} can write its image"
        run(["mount", "-o", "remount,bind,ro", root])
        return root

    def mount(self, *words):
        run(["mount", *words])
        self.mounted.append(words[-1])

    def volume(self, name, place):
        """A new volume has the owner and the permissions of the folder that it hides."""
        assert name in self.compose["volumes"], f"no volume {name}"
        folder = self.work / "volumes" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            as_there = place.stat()
            os.chown(folder, as_there.st_uid, as_there.st_gid)
            folder.chmod(as_there.st_mode & 0o7777)
        return folder

    def wait_for(self, name, condition):
        if not self.image(name):
            return
        process, check = self.running[name], self.services[name].get("healthcheck")
        if condition == "service_completed_successfully":
            assert process.wait(PATIENCE) == 0, f"{name} failed"
        elif condition == "service_healthy":
            words = check["test"][1:]
            until(f"{name} is healthy", lambda: process.poll() is not None
                  or subprocess.run(self.inside(name, words), env=self.environment(name), timeout=30,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0)
            assert process.poll() is None, f"{name} ended"

    def start_prometheus(self):
        service, volumes = self.services["prometheus"], self.work / "volumes"
        places = {target: source for source, target, *_ in (v.split(":") for v in service["volumes"])}
        folder = self.work / "prometheus"
        folder.mkdir(exist_ok=True)
        files = {}
        for config in service["configs"]:
            source = self.compose["configs"][config["source"]]
            text = source["content"] if "content" in source else (FILE.parent / source["file"]).read_text()
            files[config["target"]] = (folder / pathlib.Path(config["target"]).name, text)
        here = {target: path for target, (path, _) in files.items()}
        here |= {target: volumes / name for target, name in places.items()}

        longest = "|".join(re.escape(target) for target in sorted(here, key=len, reverse=True))
        longest = rf"(?<![\w/])({longest})"

        def placed(text):
            return re.sub(longest, lambda found: str(here[found[0]]), text)

        for name in places.values():
            (volumes / name).mkdir(parents=True, exist_ok=True)
        for path, text in files.values():
            path.write_text(placed(text))
        run(["promtool", "check", "config", here["/etc/prometheus/prometheus.yml"]], stdout=subprocess.DEVNULL)
        log = open(self.work / "prometheus.log", "ab")
        self.running["prometheus"] = subprocess.Popen(
            ["prometheus", *map(placed, service["command"])], stdout=log, stderr=log, start_new_session=True)

    def typed(self, *words, service="control"):
        done = subprocess.run(self.inside(service, words), env=self.environment(service), timeout=PATIENCE,
                              capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def key_is_accepted(self):
        self.typed("keystilectl", "client", "create", "acme", "--plan", "gold")
        issued = json.loads(self.typed("keystilectl", "key", "issue", "acme", "--scope", "read", "--output", "json"))
        until("the key is accepted", lambda: asked(issued["key"]) == (200, '{"id": 7}'))
        assert asked(None)[0] == 401
        say("answers 401 without a key, and 200 with one")
        return issued

    def module_is_loaded(self):
        """The other shell of the filter, in the same image."""
        (module,) = (self.images["keystile-envoy"].root / "usr/lib/keystile").iterdir()
        config = self.typed("keystilectl", "render", "envoy", "--static", "--shell", "module",
                            "--wasm", f"/usr/lib/keystile/{module.name}")
        (self.work / "volumes/for-envoy/module.yaml").write_text(config)
        script = """export KEYSTILE_NODE=envoy-1 "$(cat /run/keystile/envoy/signing-keys)"
            exec envoy --mode validate --disable-hot-restart -c /run/keystile/envoy/module.yaml"""
        self.typed("sh", "-ec", script, service="envoy")
        say("Envoy takes the native module with a keyset")

    def key_still_is(self, issued):
        until("the key is accepted after another start", lambda: asked(issued["key"])[0] == 200)
        self.typed("keystilectl", "key", "revoke", issued["id"])
        until("the key is revoked", lambda: asked(issued["key"])[0] == 401)
        say("the second start finds everything; 401 once the key is revoked")

    def metrics_arrive(self):
        def answer(path):
            with urllib.request.urlopen(f"http://127.0.0.1:9090/api/v1/{path}", timeout=10) as got:
                return json.load(got)["data"]

        def arrived():
            with contextlib.suppress(OSError):
                found = [answer(f"query?query={name}")["result"] for name in ("keystile_keyset_version", METRIC)]
                return all(found)

        until("Prometheus has metrics of both", arrived, lambda: [
            (target["scrapeUrl"], target["lastError"]) for target in answer("targets")["activeTargets"]])
        say("Prometheus has metrics of Envoy and of the server")

    def backup(self):
        """As the job of `render kubernetes`, in the image."""
        rendered = self.typed("keystilectl", "render", "kubernetes", "--image", "x")
        (job,) = (d for d in YAML(typ="safe").load_all(rendered) if d["kind"] == "CronJob")
        (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        command = [word.replace("/backup/", "/tmp/") for word in container["command"]]
        self.typed(*command)
        assert "keystile-" in self.typed("ls", "/tmp")
        say("the job of `render kubernetes` makes its backup in the image")

    def down(self):
        for process in reversed(self.running.values()):
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running = {}

    def unmount(self):
        for place in reversed(self.mounted):
            subprocess.run(["umount", "--lazy", place], check=False)

    def logs(self):
        for log in sorted(self.work.glob("*.log")):
            print(f"== {log.name}", log.read_text(errors="replace")[-2000:], sep="\n", file=sys.stderr)


def asked(key):
    """Status and body of a request through Envoy; 0 as long as nothing answers."""
    request = urllib.request.Request(f"{API}/v1/users/7", headers={"x-api-key": key} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as refused:
        return refused.code, ""
    except OSError:
        return 0, ""


def filled_in(text):
    """Variables have their defaults, as in a shell where none is set. (`$$` stands for `$`.)"""
    text = re.sub(r"(?<!\$)\$\{\w+:-([^}]*)\}", r"\1", text)
    return text.replace("$$", "$")


def loopback():
    """A new network has its loopback interface down."""
    up, name = 0x1, b"lo"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", name, up))  # SIOCSIFFLAGS


def until(what, condition, instead=lambda: ""):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what} {instead()}"
        time.sleep(0.2)


def run(words, **how):
    subprocess.run([str(w) for w in words], check=True, **how)


def say(text):
    print(f"composed {text}", flush=True)


main()
