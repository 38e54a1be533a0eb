#!/usr/bin/env bash
# A SLURM cluster of a few virtual nodes on this one machine, for tests: Debian or Ubuntu, as root; needs neither systemd nor cgroups.
#
#   cluster.sh up [NODES]        install what is missing, start, wait until all nodes (2 by default) are idle
#   cluster.sh down              cancel all jobs and end all daemons; only the logs stay
#   cluster.sh status            what runs, and the nodes
#   cluster.sh kill-node NAME    what a power cut does to node1, node2, ...: SIGKILL to slurmd, its step daemons and all that they run
#   cluster.sh start-node NAME   and it comes back
#
# SLURM_TEST_DIR         keys, configuration, state and logs (slurm-test in the temporary directory)
# SLURM_TEST_CPUS        CPUs of a node (8); there may be fewer in the machine
# SLURM_TEST_ACCOUNTING  1: MariaDB and slurmdbd too, so that sacct works and accounts are checked; there is one account, `lab`
#
# Partitions: main, without a limit; short, one minute.
set -euo pipefail
dir=${SLURM_TEST_DIR:-${TMPDIR:-/tmp}/slurm-test}
cpus=${SLURM_TEST_CPUS:-8}
accounting=${SLURM_TEST_ACCOUNTING:-0}
link=/etc/slurm/slurm.conf # jobs find the configuration only here: snakemake's executor takes SLURM_CONF from their environment
export SLURM_CONF=$dir/slurm.conf MUNGE_SOCKET=$dir/munge.socket PATH=$PATH:/usr/sbin:/sbin

fail() {
  echo "cluster.sh: $*" >&2
  exit 1
}

wait_for() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  until "${@:2}" >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "waited $1 s for: ${*:2}; see $dir/log"
    sleep 0.1
  done
}

# --- daemons: their process ids are kept with their start times, so that no other process is ever taken for them

started_at() { # PID; in clock ticks, nothing for a process that has ended
  sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" {print $20}'
}

start() { # NAME COMMAND...
  setsid "${@:2}" </dev/null >>"$dir/log/$1.out" 2>&1 &
  echo "$! $(started_at $!)" >"$dir/pid/$1"
}

alive() { # NAME; prints its process id
  local pid ticks
  read -r pid ticks 2>/dev/null <"$dir/pid/$1" && [[ -n $ticks && $(started_at "$pid") == "$ticks" ]] && echo "$pid"
}

ended() { # NAME
  ! alive "$1"
}

stop() { # NAME...
  local name pid
  for name; do
    if pid=$(alive "$name"); then kill "$pid"; fi
  done
  for name; do
    wait_for 30 ended "$name"
    rm -f "$dir/pid/$name"
  done
}

# --- set-up

install_packages() {
  local missing=()
  command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v sbatch >/dev/null || missing+=(slurm-wlm)
  command -v munged >/dev/null || missing+=(munge)
  if ((accounting)); then
    command -v slurmdbd >/dev/null || missing+=(slurmdbd)
    command -v mariadbd >/dev/null || missing+=(mariadb-server)
  fi
  ((${#missing[@]})) || return 0
  echo "installing ${missing[*]}"
  {
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"
  } >"$dir/log/apt.out" 2>&1 || fail "apt-get could not install ${missing[*]}; see $dir/log/apt.out"
}

write_configuration() { # NODES
  local storage=AccountingStorageType=accounting_storage/none
  if ((accounting)); then
    storage="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=16819
AccountingStoragePass=$MUNGE_SOCKET
AccountingStorageEnforce=associations"
  fi
  cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$MUNGE_SOCKET,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
# there may be no cgroups here: a job's memory is measured once a second, and one that takes too much is killed
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
# CPUs and memory are what is written here, whatever the machine has
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=pmi2
# a test must not wait: jobs start at once, a lost node is noticed within seconds, a job that must end has 2 s to do so
SchedulerParameters=batch_sched_delay=0,sched_min_interval=10000,sched_interval=1,bf_interval=1
SlurmdTimeout=8
MessageTimeout=5
KillWait=2
# numbers no job had before: mpich names its shared memory by them, and that of a killed rank stays in /dev/shm
FirstJobId=$(($(date +%s) % 50000000 + 1))
OverTimeLimit=0
ReturnToService=2
JobRequeue=1
MinJobAge=3600
$storage
NodeName=node[1-$1] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[17001-$((17000 + $1))] CPUs=$cpus RealMemory=16000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=1000
PartitionName=short Nodes=ALL MaxTime=1 DefMemPerCPU=1000
END
  mkdir -p "$(dirname $link)"
  [[ -L $link || ! -e $link ]] || fail "$link is a file, so this machine has a SLURM of its own; it is left alone"
  ln -sfn "$SLURM_CONF" $link
}

start_munge() {
  [[ -s $dir/munge.key ]] || (umask 077 && head -c 1024 /dev/urandom >"$dir/munge.key")
  start munged munged --foreground --force --key-file="$dir/munge.key" --socket="$MUNGE_SOCKET" \
    --pid-file="$dir/munged.pid" --log-file="$dir/log/munged.log" --seed-file="$dir/munge.seed"
  wait_for 20 munge --no-input --socket="$MUNGE_SOCKET"
}

start_database() {
  local socket=$dir/mysql.socket
  (umask 077 && cat >"$dir/slurmdbd.conf") <<END
AuthInfo=socket=$MUNGE_SOCKET
DbdHost=localhost
DbdPort=16819
SlurmUser=root
LogFile=$dir/log/slurmdbd.log
PidFile=$dir/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageUser=root
END
  [[ -d $dir/mysql ]] || mariadb-install-db --no-defaults --user=root --auth-root-authentication-method=socket \
    --datadir="$dir/mysql" --skip-test-db >"$dir/log/mariadb-install.out" 2>&1
  start mariadbd mariadbd --no-defaults --user=root --datadir="$dir/mysql" --socket="$socket" --pid-file="$dir/mariadbd.pid" \
    --skip-networking --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900
  wait_for 60 mariadb-admin --no-defaults --socket="$socket" ping
  start slurmdbd env MYSQL_UNIX_PORT="$socket" slurmdbd -D
  wait_for 60 sacctmgr --immediate show cluster
  sacctmgr --immediate add cluster test
  sacctmgr --immediate add account lab cluster=test
  sacctmgr --immediate add user root account=lab
} >>"$dir/log/database.out"

nodes_idle() { # NODES
  [[ $(sinfo --noheader --Node --partition=main --format=%t | grep -c '^idle$') == "$1" ]]
}

# --- commands

up() { # [NODES]
  local nodes=${1:-2} i
  ((UID == 0)) || fail "a cluster of several nodes on one machine is started by root"
  [[ $(readlink $link) == "$SLURM_CONF" || ! -e $link ]] || fail "$link shows that another cluster runs; end it first"
  ! alive slurmctld >/dev/null || fail "it is up already"
  mkdir -p "$dir"/{log,pid,state}
  trap '(($? == 0)) || down' EXIT
  install_packages
  write_configuration "$nodes"
  start_munge
  ((! accounting)) || start_database
  start slurmctld slurmctld -D -i
  wait_for 30 scontrol ping
  for i in $(seq "$nodes"); do start_node "node$i"; done
  wait_for 60 nodes_idle "$nodes"
  sinfo
}

no_jobs() {
  [[ -z $(squeue --noheader) ]]
}

down() {
  local nodes
  if alive slurmctld >/dev/null; then
    scancel --user=root
    (wait_for 60 no_jobs) || true # what a lost node has left, slurmctld forgets
  fi
  mapfile -t nodes < <(daemons node)
  stop slurmctld
  stop "${nodes[@]}" slurmdbd
  stop mariadbd munged
  if [[ $(readlink $link) == "$SLURM_CONF" ]]; then rm $link; fi
  rm -rf "$dir"/{state,mysql} "$dir"/spool-*
  remove_memory_of_dead_ranks
}

remove_memory_of_dead_ranks() { # a later job whose name for it were the same could not start
  local mapped
  mapped=$(cat /proc/[0-9]*/maps 2>/dev/null | grep -o '/dev/shm/mpich_shm_[^ ]*' | sort -u || true)
  { find /dev/shm -name 'mpich_shm_*' -mmin +1 | grep -vxF "$mapped" || true; } | xargs --no-run-if-empty rm -f
}

daemons() { # [PREFIX]
  (cd "$dir/pid" 2>/dev/null && ls) | grep "^${1:-}" || true
}

status() {
  local name
  for name in $(daemons); do echo "$name: $(alive "$name" || echo dead)"; done
  if alive slurmctld >/dev/null; then sinfo --Node --long; fi
}

start_node() { # NAME
  mkdir -p "$dir/spool-$1"
  start "$1" slurmd -D -N "$1"
}

kill_node() { # NAME
  local processes
  mapfile -t processes < <(logging_to "$dir/log/slurmd-$1.log")
  mapfile -t processes < <(with_children "${processes[@]}")
  kill -KILL "${processes[@]}"
}

logging_to() { # FILE; slurmd and its step daemons are those that have the node's log open
  find /proc/[0-9]*/fd -lname "$1" 2>/dev/null | cut -d/ -f3 | sort -u
}

with_children() { # PID...
  local pid children
  for pid; do
    echo "$pid"
    mapfile -d ' ' -t children < <(cat "/proc/$pid"/task/*/children 2>/dev/null)
    with_children "${children[@]}"
  done
}

case "${1:-}" in
up | down | status) "$@" ;;
start-node) start_node "$2" ;;
kill-node) kill_node "$2" ;;
*)
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
  exit 2
  ;;
esac
