"""A Slurm of two nodes on this machine, on folders and ports of its own; what runs against it has its SLURM_CONF.

Nothing outside its folder is touched. All of it ends with the process that started it, however that ends: a watcher, whose
standard input closes then, kills every process that has this SLURM_CONF in its environment: daemons, jobs and clients.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

NODES = ("n1", "n2")
DAEMONS = ("munged", "slurmctld", "slurmd")
ACCOUNTING_DAEMONS = ("mariadbd", "slurmdbd")
CPUS_PER_NODE, MEMORY_PER_NODE_MB, GPUS_PER_NODE = 4, 6000, 1
PATIENCE_S = 120

# `work` preempts the others: what it takes the place of in `spare` is requeued, in `spare_cancel` cancelled.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=15
SlurmctldTimeout=10
KillWait=5
MinJobAge={remembers_s}
OverTimeLimit=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_min_interval=100000,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{gpus}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{gpus}
PartitionName=work Nodes=n[1-2] Default=YES MaxTime=1:00:00 DefMemPerCPU=100 PriorityTier=10 PreemptMode=OFF
PartitionName=spare Nodes=n[1-2] MaxTime=1:00:00 DefMemPerCPU=100 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=spare_cancel Nodes=n[1-2] MaxTime=1:00:00 DefMemPerCPU=100 PriorityTier=1 PreemptMode=CANCEL
"""
ACCOUNTING = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePass={folder}/munge.socket
AccountingStoragePort={ports[0]}
"""
ACCOUNTING_DAEMON = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={ports[0]}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports[1]}
StorageUser=root
"""


def missing():
    """Why no cluster can be started here; empty where it can."""
    absent = _absent(*DAEMONS, "sbatch")
    if absent:
        return f"a Slurm needs {absent}, which are not installed (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "the daemons of a Slurm of one's own start as root only"


def missing_for_accounting():
    """Why a cluster that can be started here cannot have accounting; empty where it can."""
    absent = _absent(*ACCOUNTING_DAEMONS, "mariadb-install-db")
    return f"accounting needs {absent}, which are not installed (Debian: slurmdbd, mariadb-server)" if absent else ""


def _absent(*programs):
    return ", ".join(name for name in programs if not shutil.which(name, path=_path_with_daemons()))


class Cluster:
    """munged, slurmctld and a slurmd for each node. `environment` is what its clients need.

    accounting: with slurmdbd and a database. remembers_s: for how long squeue lists a job after its end.
    """

    def __init__(self, folder, *, accounting=False, remembers_s=3600):
        self.folder = Path(folder)
        self._accounting, self._remembers_s = accounting, remembers_s
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path_with_daemons()}
        self._started = {}

    def start(self):
        self._write_configuration()
        self._watcher = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("watcher.py"), self.folder],
            stdin=subprocess.PIPE,  # closed by the end of this process
            start_new_session=True,
        )
        self._start_munged()
        if self._accounting:
            self._start_database()
            self.start_accounting()
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self.await_nodes()

    def stop(self):
        """Ends all, the watcher last; at once, since nothing of it is kept."""
        self._watcher.stdin.close()
        self._watcher.wait(PATIENCE_S)
        for daemon in self._started.values():
            daemon.wait(PATIENCE_S)

    def _write_configuration(self):
        for name in ("state", "spool-n1", "spool-n2"):
            (self.folder / name).mkdir(mode=0o755)
        ports = _free_ports(5)
        self._database_port = ports[4]
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        text = CONFIGURATION.format(
            host=_host(),
            folder=self.folder,
            ports=ports,
            remembers_s=self._remembers_s,
            cpus=CPUS_PER_NODE,
            memory_mb=MEMORY_PER_NODE_MB,
            gpus=GPUS_PER_NODE,
        )
        if self._accounting:
            text += ACCOUNTING.format(folder=self.folder, ports=ports[3:])
            daemon = self.folder / "slurmdbd.conf"
            daemon.touch(mode=0o600)  # else it refuses to start
            daemon.write_text(ACCOUNTING_DAEMON.format(host=_host(), folder=self.folder, ports=ports[3:]))
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text("".join(f"NodeName={node} Name=gpu File=/dev/null\n" for node in NODES))

    def _start_munged(self):
        paths = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "seed-file": "munge.seed"}
        options = [f"--{option}={self.folder / name}" for option, name in paths.items()]
        self._start("munged", "munged", "--foreground", "--force", "--log-file=/dev/null", *options)
        _await((self.folder / "munge.socket").is_socket, "munged did not open its socket")

    def _start_database(self):
        """Open to all on this machine who know its port; nothing in it is worth a password."""
        data = self.folder / "database"
        own = ["--no-defaults", f"--datadir={data}", "--user=root"]
        self.client("mariadb-install-db", *own, "--auth-root-authentication-method=normal", "--skip-test-db")
        address = [f"--socket={self.folder / 'database.socket'}", f"--port={self._database_port}", "--bind-address=127.0.0.1"]
        self._start("mariadbd", "mariadbd", *own, *address, f"--pid-file={self.folder / 'database.pid'}")
        _await(lambda: _listens(self._database_port), "the database does not answer")

    def start_accounting(self):
        self._start("slurmdbd", "slurmdbd", "-D")
        _await(
            lambda: self.client("sacctmgr", "-n", "list", "cluster", check=False).returncode == 0, "slurmdbd does not answer"
        )

    def start_controller(self):
        self._start("slurmctld", "slurmctld", "-D")
        _await(lambda: self.client("scontrol", "ping", check=False).returncode == 0, "slurmctld does not answer")

    def start_node(self, node):
        self._start(node, "slurmd", "-D", "-N", node)

    def await_nodes(self):
        """Until both nodes can take a job."""

        def states():
            return set(self.client("sinfo", "-h", "-N", "-p", "work", "-o", "%T").stdout.split())

        _await(lambda: states() <= {"idle", "mixed", "allocated"}, "the nodes did not come up")

    def kill(self, name):
        """SIGKILL to a daemon, as `slurmctld`, or `n1` for the slurmd of a node; its jobs live on, or not, as Slurm likes."""
        self._started[name].kill()
        self._started[name].wait()

    def fail_node(self, node):
        """As when a machine loses its power: the slurmd and all that it had started are gone."""
        daemon = psutil.Process(self._started[node].pid)
        for process in [daemon, *(p for p in processes_of(self.folder) if _works_on(p, node))]:
            with suppress(psutil.Error):
                process.kill()
        self._started[node].wait()

    @contextmanager
    def controller_away(self):
        """While the block runs no client has an answer; the controller then goes on where it was."""
        self._started["slurmctld"].send_signal(signal.SIGTERM)  # it saves its state
        self._started["slurmctld"].wait(PATIENCE_S)
        try:
            yield
        finally:
            self.start_controller()

    def client(self, *command, check=True, **options):
        """A command of Slurm, as a user calls it."""
        done = subprocess.run(
            [str(word) for word in command], env=self.environment, capture_output=True, text=True, check=False, **options
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
        return done

    def sbatch(self, command, *options, cwd=None):
        """The id of a job that runs a shell command."""
        line = ["sbatch", "--parsable", "-o", self.folder / "job-%j.out", *options, "--wrap", command]
        return self.client(*line, cwd=cwd or self.folder).stdout.strip()

    def scancel(self, *arguments):
        self.client("scancel", *arguments)

    def job(self, job):
        """All that scontrol knows of a job, by the names that it prints."""
        words = self.client("scontrol", "-o", "show", "job", job).stdout.split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, job):
        if self._accounting:  # the controller forgets jobs there
            told = self.client("sacct", "-X", "-n", "-P", "-o", "State", "-j", job).stdout.split()
            return told[0] if told else "PENDING"
        return self.job(job)["JobState"]

    def await_state(self, job, *states, patience_s=PATIENCE_S):
        _await(lambda: self.state(job) in states, f"job {job} did not become {' or '.join(states)}", patience_s)
        return self.state(job)

    def jobs(self, *states):
        """The ids of the jobs that are in one of these states; without any, of those that are not done."""
        chosen = ["-t", ",".join(states)] if states else []
        return self.client("squeue", "-h", "-o", "%i", *chosen).stdout.split()

    def clear(self):
        """Cancels all jobs, and waits for both nodes."""
        self.scancel("--user", "root")
        self.await_nodes()
        _await(lambda: not self.jobs(), "jobs do not end")

    def let_start(self, job):
        """Slurm holds a requeued job back for two minutes; not this one, unless it has just started by itself."""
        self.client("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)

    def _start(self, name, *command):
        self._started[name] = subprocess.Popen(
            command,
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / f"{name}.out").open("a"),
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is for the tests alone
        )


def processes_of(folder):
    """The daemons, clients and jobs of the cluster in this folder, but not this process."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and _belongs(process, folder):
                found.append(process)
    return found


def _belongs(process, folder):
    if process.name() == "slurmstepd":  # its environment cannot be read
        return any(Path(file.path).parent == Path(folder) for file in process.open_files())
    return process.environ().get("SLURM_CONF") == str(Path(folder) / "slurm.conf")


def _works_on(process, node):
    """Whether a process of the cluster belongs to a job on this node."""
    with suppress(psutil.Error):
        if process.name() == "slurmstepd":
            return any(Path(file.path).name == f"slurmd-{node}.log" for file in process.open_files())
        return process.environ().get("SLURMD_NODENAME") == node
    return False


def _path_with_daemons():
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"


def _host():
    return socket.gethostname().split(".")[0]


def _free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _await(holds, message, patience_s=PATIENCE_S):
    end = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end, message
        time.sleep(0.2)
