"""Attacks on the sandbox: what code in it may try against the host, the network, the kernel and the
person, each shown to be one before it is shown to be held.

All run for root's podman and for an ordinary user's. They reach for loopback and for what they
started themselves only, and take a bounded amount of everything.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil
import pytest

from kernels import Kernel
from sandbox import attacks
from sandbox.attacks import cell, limits_hold, listening, unprotected
from sandbox.podman import IMAGE, Podman

pytestmark = [pytest.mark.kernel, pytest.mark.cli]


# -- network ---------------------------------------------------------------------------------------

REACHING = """
import socket
try:
    s = socket.socket({family}, {kind}); s.settimeout(3); s.connect({address!r})
    s.send(b'x'); print(s.recv(99).decode())
except OSError as err:
    print('held', type(err).__name__)
"""
SERVERS = {
    "TCP": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
    "UDP": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
    "an abstract socket": (socket.AF_UNIX, socket.SOCK_STREAM, "\0familiar-attacked"),
}


@pytest.mark.parametrize("name", list(SERVERS))
def test_the_hosts_own_services_are_not_reached(
    attacked: Kernel, whose: Podman, place: Path, name: str
) -> None:
    family, kind, wanted = SERVERS[name]
    with listening(kind, wanted, family) as address:
        if isinstance(address, bytes):
            address = address.decode()
        code = REACHING.format(family=int(family), kind=int(kind), address=address)
        assert unprotected(whose, place, code, "--network", "--network=host") == "reached"
        assert cell(attacked, code).startswith("held")


def test_no_address_is_reached_and_no_name_is_known(attacked: Kernel) -> None:
    """To connect for UDP sends nothing: it only looks for a way."""
    ways = "169.254.169.254", "10.0.0.1", "192.0.2.1", "fd00:ec2::254", "2001:db8::1"
    code = f"""
import errno, os, re, socket
for address in {ways!r} + tuple(re.findall(r'nameserver (\\S+)', open('/etc/resolv.conf').read())):
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
    try: s.connect((address, 53)); print('a way to', address)
    except OSError as err: print(errno.errorcode[err.errno], end=' ')
try: print(socket.getaddrinfo('example.org', 80))
except OSError as err: print('no name')
print(os.listdir('/sys/class/net'), open('/proc/net/route').read().count('\\n'))
"""
    told = cell(attacked, code).splitlines()
    assert set(told[0].split()) <= {"ENETUNREACH", "EADDRNOTAVAIL", "no", "name"}
    assert told[-1] == "['lo'] 1"
    host = psutil.net_if_addrs()
    assert len(host) > 1 or "lo" not in host, "the same look at the host shows nothing else"


# -- files -----------------------------------------------------------------------------------------

WRITING = """
import os
got = []
for path in {paths!r}:
    try:
        with open(path, 'a') as f: f.write('x')
        got.append(path)
    except OSError: pass
print(got)
"""


def test_what_the_image_holds_cannot_be_written(
    attacked: Kernel, whose: Podman, place: Path
) -> None:
    paths = ["/var/tmp/x", "/x", "/etc/passwd", "/usr/lib/x", "/opt/sandbox/x", "/run/x", "/home/x"]
    code = WRITING.format(paths=paths)
    assert unprotected(whose, place, code, "--read-only") == "['/var/tmp/x']"
    assert cell(attacked, code) == "[]"


def test_only_a_few_places_can_be_written_and_those_are_memory(attacked: Kernel) -> None:
    code = """
import os
places, devices = [], []
for root, folders, files in os.walk('/'):
    if root == '/proc': folders.clear()
    if os.access(root, os.W_OK): places.append(root)
    devices += [f for f in (os.path.join(root, n) for n in files) if root.startswith('/dev')]
def mount(path):
    lines = [l.split() for l in open('/proc/self/mounts')]
    above = [l for l in lines if (path + '/').startswith(l[1].rstrip('/') + '/')]
    return max(above, key=lambda l: len(l[1]))
for p in places:
    kind, options = mount(p)[2:4]
    print(p.startswith('/tmp') or p, kind, 'nosuid' in options)
print(sorted(devices))
"""
    *places, devices = cell(attacked, code).splitlines()
    kinds = {"True tmpfs True", "/dev/shm tmpfs True", "/dev/mqueue mqueue True"}
    assert set(places) == kinds
    assert "sd" not in devices
    assert "mem'" not in devices


WORKSPACE = """
import os
def tried(what):
    try: what(); return 'done'
    except OSError as err: return err.strerror
os.chdir('/workspace')
print(tried(lambda: open('new', 'w')), tried(lambda: open('data.csv', 'a').write('x')),
      tried(lambda: os.rename('data.csv', 'other')),
      tried(lambda: os.symlink('/etc/passwd', 'there')),
      tried(lambda: os.chmod('data.csv', 0o777)), tried(lambda: os.unlink('data.csv')), sep='; ')
"""


def test_the_workspace_is_read_only(attacked: Kernel, whose: Podman, place: Path) -> None:
    free = attacks.made(whose, place / "free")
    (free / "data.csv").write_text("a")
    for path in (free, free / "data.csv"):
        path.chmod(0o777)
    told = unprotected(whose, place, WORKSPACE, (), workspace=str(free), workspace_mode="rw")
    assert told.startswith("done")
    assert (free / "new").exists()
    work = place / "work"
    before = sorted(work.iterdir())
    assert set(cell(attacked, WORKSPACE).split("; ")) == {"Read-only file system"}
    assert sorted(work.iterdir()) == before
    assert cell(attacked, "print(open('/workspace/data.csv').read())") == "a,b\n1,2"


def test_the_sockets_folder_cannot_be_written(attacked: Kernel, whose: Podman, place: Path) -> None:
    code = """
import os
def tried(what):
    try: what(); return 'done'
    except OSError as err: return err.strerror
print(tried(lambda: open('/run/familiar/filler', 'w').write('x' * 1000)),
      tried(lambda: os.symlink('/etc', '/run/familiar/elsewhere')),
      tried(lambda: os.unlink('/run/familiar/bridge')), sep='; ')
"""
    made = attacks.made(whose, place / "sockets")
    made.chmod(0o777)
    weak = unprotected(
        whose, place, code, "--volume=" + str(made), f"--volume={made}:/run/familiar"
    )
    assert weak.startswith("done; done")
    assert set(cell(attacked, code).split("; ")) == {"Read-only file system"}


def test_links_in_the_workspace_lead_nowhere(attacked: Kernel, place: Path) -> None:
    assert (place / "work" / "link").read_text() == attacks.KEY
    told = cell(attacked, "import os\nprint(os.path.exists('/workspace/link'))")
    assert told == "False"


FILLING = """
import os
written = 0
try:
    with open('{path}', 'wb', buffering=0) as f:
        while written < 900 << 20: written += f.write(bytes(1 << 20))
except OSError as err:
    print(err.strerror, end=' ')
print(written >> 20)
try: os.unlink('{path}')
except OSError: pass
"""


@pytest.mark.parametrize(("path", "most"), [("/tmp/filler", 512), ("/dev/shm/filler", 64)])
def test_what_may_be_written_has_a_bound_and_is_not_on_the_hosts_disk(
    usable: Kernel, whose: Podman, path: str, most: int
) -> None:
    container = attacks.container_of(whose, usable)
    before = attacks.on_disk(whose, container)
    code = FILLING.format(path=path).replace("try: os.unlink", "if 0: os.unlink")
    code = code.replace("except OSError: pass", "")
    *why, mib = cell(usable, code).split()
    assert " ".join(why) == "No space left on device"
    assert most - 4 <= int(mib) <= most
    assert attacks.on_disk(whose, container) - before < 1 << 20
    cell(usable, f"import os; os.unlink({path!r})")


def test_without_its_flags_the_hosts_disk_is_filled(whose: Podman, place: Path) -> None:
    code = FILLING.format(path="/var/tmp/filler").replace("900 <<", "30 <<")
    code += "print([l.split()[2] for l in open('/proc/self/mounts') if l.split()[1] == '/'])"
    assert unprotected(whose, place, code, "--read-only") == "30\n['overlay']"


def test_many_small_files_are_counted_as_memory(usable: Kernel, whose: Podman) -> None:
    """Empty files take nothing of a tmpfs' size, but memory of the host."""
    if not limits_hold(whose):
        return
    code = """
import os
os.mkdir('/tmp/many')
n = 0
try:
    while n < 3_000_000: open(f'/tmp/many/{n}', 'w').close(); n += 1
except OSError as err: print(err.strerror)
print(n)
"""
    made = cell(usable, code.replace("3_000_000", "20_000")).splitlines()
    assert made == ["20000"]
    cell(usable, "import shutil; shutil.rmtree('/tmp/many')")


LOGGING = """
import os
for descriptor in (1, 2):
    for _ in range(20): os.write(descriptor, (b'x' * 127 + b'\\n') * (1 << 13))
"""


def test_what_is_written_to_the_runtimes_log_is_kept_nowhere(
    usable: Kernel, whose: Podman, place: Path
) -> None:
    log = place / "container.log"
    unprotected(
        whose, place, LOGGING, "--log-driver", "--log-driver=k8s-file", f"--log-opt=path={log}"
    )
    assert log.stat().st_size > 40 << 20
    log.unlink()
    container = attacks.container_of(whose, usable)
    before = attacks.on_disk(whose, container)
    original = "sys.stdout._original_stdstream_fd if hasattr(sys.stdout, '_original_stdstream_fd')"
    code = LOGGING.replace(
        "(1, 2)", f"({original} else sys.stdout._original_stdstream_copy, )"
    ).replace("import os", "import os, sys")
    cell(usable, code)
    assert attacks.on_disk(whose, container) - before < 1 << 20


# -- the kernel's calls ----------------------------------------------------------------------------

CALLS = {
    # name: numbers on x86_64 and aarch64, and arguments that harm nobody
    "unshare": (272, 97, "0x10000000"),
    "setns": (308, 268, "-1, 0"),
    "mount": (165, 40, "0, 0, 0, 0, 0"),
    "pivot_root": (155, 41, "0, 0"),
    "chroot": (161, 51, "0"),
    "open_tree": (428, 428, "-1, 0, 0"),
    "fsopen": (430, 430, "0, 0"),
    "mount_setattr": (442, 442, "-1, 0, 0, 0, 0"),
    "bpf": (321, 280, "-1, 0, 0"),
    "perf_event_open": (298, 241, "0, 0, -1, -1, 0"),
    "io_uring_setup": (425, 425, "1, 0"),
    "userfaultfd": (323, 282, "-1"),
    "keyctl": (250, 219, "0, -3, 0, 0, 0"),
    "add_key": (248, 217, "0, 0, 0, 0, 0"),
    "ptrace": (101, 117, "16, 0, 0, 0"),
    "process_vm_readv": (310, 270, "0, 0, 0, 0, 0, 0"),
    "pidfd_getfd": (438, 438, "-1, 0, 0"),
    "kcmp": (312, 272, "0, 0, 0, 0, 0"),
    "open_by_handle_at": (304, 265, "-1, 0, 0"),
    "init_module": (175, 105, "0, 0, 0"),
    "kexec_load": (246, 104, "0, 0, 0, -1"),
    "reboot": (169, 142, "0, 0, 0, 0"),
    "swapon": (167, 224, "0, 0"),
    "clock_settime": (227, 112, "0, 0"),
    "quotactl": (179, 60, "0, 0, 0, 0"),
    "syslog": (103, 116, "10, 0, 0"),
    "acct": (163, 89, "0"),
    "clone3": (435, 435, "0, 0"),
    "move_pages": (279, 239, "0, 0, 0, 0, 0, 0"),
}
ALWAYS_THERE = {"unshare", "setns", "mount", "chroot", "ptrace", "process_vm_readv", "clone3"}
"""The calls that every Linux has; the others can be left out of it."""


def calling() -> str:
    """Code that tries each call, in a process of its own, and prints those that exist."""
    arm = os.uname().machine == "aarch64"
    calls = {name: (number[arm], number[2]) for name, number in CALLS.items()}
    return f"""
import ctypes, os, subprocess, sys
there = []
for name, (number, arguments) in {calls!r}.items():
    code = ("import ctypes; c = ctypes.CDLL(None, use_errno=True);"
            f"c.syscall.restype = ctypes.c_long; r = c.syscall({{number}}, {{arguments}}); "
            "print('ENOSYS' if r < 0 and ctypes.get_errno() == 38 else 'there')")
    command = [sys.executable, '-I', '-S', '-c', code]
    if subprocess.run(command, capture_output=True, text=True).stdout != 'ENOSYS\\n':
        there.append(name)
print(*there)
"""


def test_calls_that_programs_do_not_need_do_not_exist(
    attacked: Kernel, whose: Podman, place: Path
) -> None:
    weak = unprotected(
        whose, place, calling(), "--security-opt=seccomp", "--security-opt=seccomp=unconfined"
    )
    assert set(weak.split()) >= ALWAYS_THERE
    assert cell(attacked, calling()) == ""


NAMESPACES = """
import ctypes, os, sys
c = ctypes.CDLL(None, use_errno=True)
def child(what):
    pid = os.fork()
    if pid == 0: os._exit(0 if what() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
def unshared(): return c.unshare(0x10000000) == 0
def mounted():
    if c.unshare(0x10000000 | 0x20000): return False
    return c.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0
def cloned():
    pid = c.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)
    if pid == 0: os._exit(0)
    if pid > 0: os.waitpid(pid, 0)
    return pid > 0
print(child(unshared), child(mounted), os.uname().machine != 'x86_64' or child(cloned))
"""


def test_no_namespace_can_be_made(attacked: Kernel, whose: Podman, place: Path) -> None:
    weak = unprotected(
        whose, place, NAMESPACES, "--security-opt=seccomp", "--security-opt=seccomp=unconfined"
    )
    assert weak.startswith("True")
    assert set(cell(attacked, NAMESPACES).split()[:2]) == {"False"}
    if os.uname().machine == "x86_64":
        assert weak == "True True True"
        assert cell(attacked, NAMESPACES) == "False False False"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other machines have no second way in")
def test_the_other_ways_into_the_kernel_are_shut(
    attacked: Kernel, whose: Podman, place: Path
) -> None:
    """What a filter knows by number has other numbers in the calls of 32 bits, and of x32."""
    code = """
import ctypes, mmap, os
def child(what):
    pid = os.fork()
    if pid == 0: os._exit(0 if what() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def by_interrupt():
    # unshare(CLONE_NEWUSER): push rbx; mov eax, 310; mov ebx, 0x10000000; int 0x80; pop rbx; ret
    text = bytes.fromhex('53b836010000bb00000010cd805bc3')
    page = mmap.mmap(-1, 4096, prot=7); page.write(text)
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    return call() == 0
def by_x32():
    return ctypes.CDLL(None).syscall(0x40000000 + 272, 0x10000000) == 0
print(child(by_interrupt), child(by_x32))
"""
    weak = unprotected(
        whose, place, code, "--security-opt=seccomp", "--security-opt=seccomp=unconfined"
    )
    shut = cell(attacked, code)
    assert "0" not in shut.split(), (weak, shut)


def test_sockets_of_other_families_cannot_be_had(
    attacked: Kernel, whose: Podman, place: Path
) -> None:
    code = """
import socket
got = []
for name in ('AF_ALG', 'AF_VSOCK', 'AF_PACKET', 'AF_CAN', 'AF_BLUETOOTH', 'AF_RDS', 'AF_TIPC'):
    for kind in (1, 2, 3, 5):
        try: socket.socket(getattr(socket, name), kind); got.append(name)
        except (OSError, AttributeError): pass
for family in (2, 10):
    try: socket.socket(family, socket.SOCK_RAW, 1); got.append('raw')
    except OSError: pass
print(*sorted(set(got)))
"""
    drop = "--security-opt=seccomp"
    weak = unprotected(whose, place, code, drop, f"{drop}=unconfined")
    assert cell(attacked, code) == ""
    if Path("/proc/net/protocols").read_text().find("ALG") >= 0:
        assert "AF_ALG" in weak


def test_the_memory_of_other_processes_cannot_be_read(attacked: Kernel) -> None:
    """Its own child's, which Linux would show."""
    code = """
import ctypes, os, subprocess, sys, time
p = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'input()'], stdin=subprocess.PIPE)
c = ctypes.CDLL(None, use_errno=True)
print(c.ptrace(16, p.pid, 0, 0), end=' ')
p.kill(); p.wait()
"""
    assert cell(attacked, code) == "-1"


# -- rights ----------------------------------------------------------------------------------------

SETUID = """
import os, subprocess, time
p = subprocess.Popen(['su'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
time.sleep(0.5)
try: print(next(l for l in open(f'/proc/{p.pid}/status') if l.startswith('Uid')).split()[2])
finally: p.kill(); p.wait()
"""


def test_programs_of_root_run_without_its_rights(
    attacked: Kernel, whose: Podman, place: Path
) -> None:
    weak = unprotected(whose, place, SETUID, "--security-opt=no-new", "--cap-add=setuid")
    assert weak == "0"
    assert cell(attacked, SETUID) == "1000"
    status = dict(
        line.split(":\t")
        for line in cell(attacked, "print(open('/proc/self/status').read())").splitlines()
        if line.startswith(("Cap", "NoNewPrivs", "Seccomp:"))
    )
    assert {status[name] for name in status if name.startswith("Cap")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_no_device_can_be_made(attacked: Kernel, whose: Podman, place: Path) -> None:
    code = """
import os, stat
try: os.mknod('/tmp/disk', stat.S_IFBLK | 0o600, os.makedev(254, 0)); print('made')
except OSError as err: print(err.strerror)
"""
    if not whose.user and os.geteuid() == 0:
        drop = ("--cap-drop", "--user", "--uidmap", "--gidmap")
        assert unprotected(whose, place, code, drop, "--user=0") == "made"
    assert cell(attacked, code) == "Operation not permitted"


PROBING = """
import os
found = ['/proc/sysrq-trigger']
for top in ('/proc/sys', '/sys', '/proc/irq', '/proc/bus'):
    found += [os.path.join(root, name) for root, _, files in os.walk(top) for name in files]
may = [path for path in found if os.access(path, os.W_OK)]
print(len(may), *[p for p in may if 'core_pattern' in p or 'release_agent' in p][:3])
"""
"""It only asks whether it may; nothing is written."""


def test_nothing_of_proc_and_sys_can_be_set(attacked: Kernel, whose: Podman, place: Path) -> None:
    if not whose.user and os.geteuid() == 0:
        drop = ("--user", "--cap-drop", "--uidmap", "--gidmap", "--security-opt")
        weak = unprotected(whose, place, PROBING, drop, "--user=0", "--privileged")
        assert "/proc/sys/kernel/core_pattern" in weak
    assert cell(attacked, PROBING) == "0"


def test_what_tells_of_the_host_is_masked(attacked: Kernel) -> None:
    code = """
for path in ('/proc/kcore', '/proc/keys', '/proc/timer_list', '/proc/sched_debug',
             '/sys/firmware/dmi', '/proc/kmsg', '/proc/1/root/etc/shadow', '/dev/mem', '/dev/kmsg'):
    try:
        import os
        if os.path.isdir(path): print(path, os.listdir(path))
        elif open(path, 'rb').read(1): print(path)
    except OSError: pass
"""
    assert cell(attacked, code) == ""


# -- secrets ---------------------------------------------------------------------------------------


def test_no_secret_of_the_host_is_inside(attacked: Kernel, whose: Podman, place: Path) -> None:
    """Neither in an environment, nor in a file, nor behind a descriptor."""
    code = f"""
import os
key = '{attacks.KEY[:10]}' + '{attacks.KEY[10:]}'
found = []
def look(path):
    try:
        with open(path, 'rb') as f: data = f.read(1 << 20)
    except OSError: return
    if key.encode() in data: found.append(path)
for process in filter(str.isdigit, os.listdir('/proc')):
    for name in ('environ', 'cmdline'): look(f'/proc/{{process}}/{{name}}')
for root, folders, files in os.walk('/'):
    if root == '/': folders[:] = set(folders) - {{'proc', 'sys', 'dev', 'usr', 'opt'}}
    for name in files:
        if os.path.isfile(os.path.join(root, name)): look(os.path.join(root, name))
print(found, os.path.expanduser('~'), [n for n in os.listdir('/tmp') if n in ('.ssh', '.claude')])
for d in os.listdir('/proc/self/fd'):
    try: target = os.readlink(f'/proc/self/fd/{{d}}')
    except OSError: continue
    known = ('pipe:', 'socket:', 'anon_inode:', '/dev/null', '/proc/')
    if not target.startswith(known): print(d, target)
"""
    # Where it is let through, the same look finds it.
    weak = unprotected(whose, place, code, (), f"--env=A_SECRET={attacks.KEY}")
    assert "environ" in weak
    assert cell(attacked, code) == "[] /tmp []"
    outer = psutil.Process(attacked.pid)
    assert outer.environ()["A_SECRET"] == attacks.KEY


def test_the_names_of_the_host_are_its_own(attacked: Kernel, whose: Podman) -> None:
    told = cell(attacked, "import os; print(os.uname().nodename, os.environ)")
    assert told.startswith("sandbox ")
    assert socket.gethostname() not in told
    for name in ("USER", "SHELL", "LOGNAME", "CONTAINERS_CONF", "FAMILIAR_SANDBOX_IMAGE"):
        assert f"'{name}'" not in told


# -- bombs -----------------------------------------------------------------------------------------

FORKS = """
import os, signal, time
born = []
try:
    while len(born) < 700:
        pid = os.fork()
        if not pid: time.sleep(30); os._exit(0)
        born.append(pid)
except OSError as err: print(err.strerror)
for pid in born: os.kill(pid, signal.SIGKILL)
for pid in born: os.waitpid(pid, 0)
print(len(born))
"""
HOG = """
import subprocess, sys
code = "x = bytearray(2600 << 20); print(len(x) >> 20)"
print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True))
"""
BUSY = """
import resource, subprocess, sys, time
began = time.monotonic()
ps = [subprocess.Popen([sys.executable, '-S', '-c', 'while True: pass']) for _ in range(4)]
time.sleep(3)
for p in ps: p.kill()
for p in ps: p.wait()
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print((used.ru_utime + used.ru_stime) / (time.monotonic() - began))
"""


def test_where_limits_cannot_hold_the_doctor_says_so(whose: Podman) -> None:
    told = whose.familiar("doctor", "--image", IMAGE).stdout
    assert ("limits" in told and "can be enforced" in told) == limits_hold(whose), told


def test_a_fork_bomb_ends_at_the_limit(usable: Kernel, whose: Podman, place: Path) -> None:
    if not limits_hold(whose):
        return
    assert unprotected(whose, place, FORKS, "--pids-limit", "--pids-limit=-1") == "700"
    why, born = cell(usable, FORKS).splitlines()
    assert why == "Resource temporarily unavailable"
    assert 400 < int(born) < 512
    assert cell(usable, "import subprocess\nprint(subprocess.check_output(['echo', 'goes on']))")


def test_a_thread_bomb_ends_at_the_limit(usable: Kernel, whose: Podman) -> None:
    if not limits_hold(whose):
        return
    code = """
import threading
end, born = threading.Event(), []
threading.stack_size(1 << 18)
try:
    while len(born) < 700:
        t = threading.Thread(target=end.wait); t.start(); born.append(t)
except RuntimeError as err: print(err)
end.set()
for t in born: t.join()
threading.stack_size(0)
print(len(born))
"""
    why, born = cell(usable, code).splitlines()
    assert "can't start new thread" in why
    assert int(born) < 512


def test_a_bomb_of_open_files_ends_at_the_limit(usable: Kernel) -> None:
    code = """
import os
opened = []
try:
    while len(opened) < 10_000: opened.append(os.open('/dev/null', os.O_RDONLY))
except OSError as err: print(err.strerror)
for d in opened: os.close(d)
print(len(opened))
"""
    why, opened = cell(usable, code).splitlines()
    assert why == "Too many open files"
    assert int(opened) < 4096


def test_a_child_that_takes_too_much_memory_is_ended_alone(
    usable: Kernel, whose: Podman, place: Path
) -> None:
    if not limits_hold(whose) or psutil.virtual_memory().available < 5 << 30:
        return
    assert "stdout='2600" in unprotected(whose, place, HOG, ("--memory=", "--memory-swap="))
    told = cell(usable, HOG)
    assert "returncode=-9" in told
    assert "2600" not in told.replace("2600 <<", "")


def test_a_busy_sandbox_takes_its_share(whose: Podman, place: Path) -> None:
    if not limits_hold(whose):
        return
    free = float(unprotected(whose, place, BUSY, (), cpus=float(os.cpu_count() or 1)))
    held = float(unprotected(whose, place, BUSY, (), cpus=0.2))
    assert held < 0.3
    assert free > held


def test_zombies_are_taken_away(usable: Kernel, whose: Podman, place: Path) -> None:
    code = """
import os, time
for _ in range(50):
    pid = os.fork()
    if not pid:
        if os.fork() == 0: time.sleep(0.1)
        os._exit(0)
    os.waitpid(pid, 0)
time.sleep(1)
def state(pid):
    try: return open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[0]
    except OSError: return ''
print(sum(state(pid) == 'Z' for pid in filter(str.isdigit, os.listdir('/proc'))))
"""
    assert unprotected(whose, place, code, "--init") == "50"
    assert cell(usable, code) == "0"
