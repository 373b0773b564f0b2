"""A machine that `ray up` can be tried on: this one, by ssh, with a home and a temporary folder of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.cluster.cluster_file import ROOT, variant

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
LONGEST_S = 300

_RAY = """\
import sys

if sys.argv[1:] == ["stop"]:  # Ray's own would end every Ray on this machine
    sys.path.insert(0, {root!r})
    from tests.cluster.machine import stop

    stop({home!r})
else:
    from ray.scripts.scripts import main

    main()
"""
_SSHD = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PasswordAuthentication no
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
SetEnv HOME={home} RAY_TMPDIR={temp} TMPDIR={temp}
"""


def missing() -> list[str]:
    """Programs that this needs and the machine lacks."""
    found = {"sshd": SSHD, **{name: shutil.which(name) for name in ("ssh", "ssh-keygen", "rsync")}}
    return [name for name, path in found.items() if not path]


@dataclass(frozen=True)
class Machine:
    """The node, and the user who launches things on it from elsewhere."""

    folder: Path
    dashboard: int
    """Port of the dashboard."""

    @property
    def home(self) -> Path:
        """Home folder on the node."""
        return self.folder / "home"

    @property
    def temp(self) -> Path:
        return self.folder / "t"

    @property
    def file(self) -> Path:
        """The cluster file."""
        return self.folder / "cluster.yaml"

    @property
    def token(self) -> str:
        return (self.folder / "user" / ".ray" / "auth_token").read_text()

    def processes(self) -> list[str]:
        """What runs on the node."""
        return [process.name() for process in _processes_of(str(self.home))]

    def ray(self, *words: str, code: int = 0, auth_mode: str = "") -> str:
        """A command of Ray's launcher as its user gives it, in the repository; returns what it printed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHON", "HF_"))}
        temp = str(self.folder / "u")
        env = {**kept, "HOME": str(self.folder / "user"), "RAY_TMPDIR": temp, "TMPDIR": temp, "COLUMNS": "200"}
        env |= {"RAY_AUTH_MODE": auth_mode} if auth_mode else {}
        command = [str(Path(sys.executable).parent / "ray"), *words]
        done = subprocess.run(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST_S
        )
        printed = done.stdout + done.stderr
        assert done.returncode == code, printed
        return printed


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """A node without Ray on it, and a cluster file for it; whatever runs there afterwards is ended."""
    # Sockets lie in the temporary folder and need short names.
    folder = Path(tempfile.mkdtemp(prefix="up-", dir="/tmp"))
    place = Machine(folder, _free_port())
    try:
        for name in ("home", "t", "u", "user/.ray"):
            (folder / name).mkdir(parents=True)
        _set_up_ssh(place)
        _set_up_environment(place)
        (folder / "user" / ".ray" / "auth_token").write_text(secrets.token_hex(32))
        (folder / "user" / ".ray" / "auth_token").chmod(0o600)
        place.file.write_text(yaml.safe_dump(_cluster_file(place)))
        yield place
    finally:
        stop(str(place.home))
        shutil.rmtree(folder, ignore_errors=True)


def stop(home: str) -> None:
    """End the processes whose home folder is this one, but for the caller and what it runs in."""
    found = _processes_of(home)
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()  # the head's gcs_server does not heed SIGTERM
    psutil.wait_procs(found, timeout=10)


def _processes_of(home: str) -> list[psutil.Process]:
    spared = {process.pid for process in (psutil.Process(), *psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ended = process.status() == psutil.STATUS_ZOMBIE
            if process.pid not in spared and not ended and process.environ().get("HOME") == home:
                found.append(process)
    return found


def _set_up_ssh(place: Machine) -> None:
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd asks for it; its service would have made it
    for name in ("key", "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place.folder / name], check=True)
    (place.folder / "sshd_config").write_text(_SSHD.format(folder=place.folder, home=place.home, temp=place.temp))


def _set_up_environment(place: Machine) -> None:
    """An environment in which all that segadapt needs is found already: installing it takes no network."""
    environment = place.home / "segadapt-env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (environment / "lib" / version / "site-packages" / "shared.pth").write_text(sysconfig.get_path("purelib"))
    pip = "import sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"
    for name, script in (("ray", _RAY.format(root=str(ROOT), home=str(place.home))), ("pip", pip)):
        (environment / "bin" / name).write_text(f"#!{python}\n{script}")
        (environment / "bin" / name).chmod(0o755)


def _cluster_file(place: Machine) -> dict[str, Any]:
    """The project's own, for this machine: another Ray may run here, and have its ports."""
    config = variant("local")
    ports = {name: _free_port() for name in ("port", "object-manager-port", "dashboard-agent-listen-port")}
    others = " ".join(f"--{name}={port}" for name, port in ports.items())
    start = config["head_start_ray_commands"][-1]
    start = start.replace("--port=6379 --object-manager-port=8076", others)
    assert others in start
    return {
        **config,
        "cluster_name": place.folder.name,
        "provider": {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []},
        "auth": {
            "ssh_user": getpass.getuser(),
            "ssh_private_key": str(place.folder / "key"),
            # The ssh server of a single connection: nothing listens on any port.
            "ssh_proxy_command": f"{SSHD} -i -f {place.folder / 'sshd_config'}",
        },
        "head_start_ray_commands": [
            f"{start} --dashboard-port={place.dashboard} --node-ip-address=127.0.0.1 --num-cpus=2"
        ],
    }


def _free_port() -> int:
    """A port above those that Ray gives to its workers."""
    while True:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            if free.getsockname()[1] > 20000:
                return free.getsockname()[1]
