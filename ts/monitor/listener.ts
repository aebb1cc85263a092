/**
 * The processes at both ends of a monitor's address, if they are on this host.
 *
 * Read from /proc (proc(5)): the sockets' inodes from net/unix or net/tcp, then the processes that have them among
 * their descriptors. Sockets are listed in the network namespace in which they were made, although the path of a
 * unix socket leads anywhere; so the namespaces of all processes are looked through, this one's first. That is
 * slow, and done only after a time-out, once to find a VM's TAPs, and by doctor.
 *
 * What may not be read (another user's process without privilege, a path that was bound relative to another
 * directory) is simply not found.
 */

import { readFile, realpath } from 'node:fs/promises'
import { resolve } from 'node:path'
import { netnsIdOfProcess } from '../host/namespaces.ts'
import { listPids, type ProcessState, processState, socketHolders } from '../host/processes.ts'
import { loadBinding } from '../native.ts'
import type { MonitorAddress } from './address.ts'

/** The sockets of one network namespace at a monitor's address. */
interface Sockets {
  /** Through which process's /proc they are seen. */
  readonly pid: number | 'self'
  readonly listening: ReadonlySet<string>
  /** The VM's ends of connections. */
  readonly connected: ReadonlySet<string>
  /** The other ends of those, where the table tells. */
  readonly peers: ReadonlySet<string>
}

/** Who listens there: the VM. */
export async function findListener(address: MonitorAddress): Promise<ProcessState | undefined> {
  const sockets = await findSockets(address)
  const [[pid] = []] = (await socketHolders(sockets?.listening ?? new Set())).values()
  return pid === undefined ? undefined : processState(pid)
}

/** Who is connected, or waits for it. This process is not told. */
export async function findClients(address: MonitorAddress): Promise<ProcessState[]> {
  const sockets = await findSockets(address)
  if (sockets === undefined) return []
  const peers = address.kind === 'unix' ? await unixPeers(sockets) : sockets.peers
  const pids = new Set([...(await socketHolders(peers)).values()].flat())
  pids.delete(process.pid)
  const states = await Promise.all([...pids].map(processState))
  return states.filter(state => state !== undefined)
}

async function findSockets(address: MonitorAddress): Promise<Sockets | undefined> {
  const seen = new Set<string | undefined>()
  for (const pid of ['self' as const, ...(await listPids())]) {
    const namespace = await netnsIdOfProcess(pid)
    if (seen.has(namespace)) continue
    seen.add(namespace)
    const sockets =
      address.kind === 'unix' ? await unixSockets(pid, address.path) : await tcpSockets(pid, address.port)
    if (sockets.listening.size > 0) return sockets
  }
  return undefined
}

/** net/unix: Num RefCount Protocol Flags Type St Inode Path; the flag is __SO_ACCEPTCON (linux/net.h). */
async function unixSockets(pid: number | 'self', path: string): Promise<Sockets> {
  const absolute = resolve(path)
  const names = new Set([path, absolute, await realpath(absolute).catch(() => absolute)])
  const [listening, connected] = [new Set<string>(), new Set<string>()]
  for (const line of await linesOf(`/proc/${pid}/net/unix`)) {
    const { flags, inode, name } =
      /^\S+ \S+ \S+ (?<flags>\S+) \S+ \S+ +(?<inode>\d+) (?<name>.+)$/.exec(line)?.groups ?? {}
    if (inode === undefined || !names.has(name ?? '')) continue
    if (flags === '00010000') listening.add(inode)
    else connected.add(inode)
  }
  return { pid, listening, connected, peers: new Set() }
}

/** net/unix does not tell who is connected with whom; sock_diag(7) does. */
async function unixPeers({ pid, connected }: Sockets): Promise<Set<string>> {
  const netns = pid === 'self' ? undefined : `/proc/${pid}/ns/net`
  const pairs = await loadBinding()
    .inspectUnixPeers(netns)
    .catch(() => [])
  return new Set(pairs.filter(({ inode }) => connected.has(String(inode))).map(({ peer }) => String(peer)))
}

/** net/tcp, net/tcp6: sl local_address rem_address st ... inode; 0A is TCP_LISTEN (net/tcp_states.h). */
async function tcpSockets(pid: number | 'self', port: number): Promise<Sockets> {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const [listening, connected, peers] = [new Set<string>(), new Set<string>(), new Set<string>()]
  for (const file of ['tcp', 'tcp6']) {
    for (const line of await linesOf(`/proc/${pid}/net/${file}`)) {
      const [, local = '', remote = '', state = '', , , , , , inode = '0'] = line.trim().split(/\s+/)
      if (local.endsWith(wanted)) (state === '0A' ? listening : connected).add(inode)
      else if (remote.endsWith(wanted)) peers.add(inode)
    }
  }
  return { pid, listening, connected, peers }
}

async function linesOf(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch(() => '')
  return text.split('\n')
}
