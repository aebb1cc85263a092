/**
 * The processes at both ends of a monitor's address, if they are on this host.
 *
 * Read from /proc (proc(5)): the sockets' inodes from net/unix or net/tcp, then the processes that have them among
 * their descriptors. Sockets are listed in the network namespace in which they were made, although the path of a
 * unix socket leads anywhere; and a path is the one it was bound by, in the directory and the file system of its
 * process. So the namespaces of all processes are looked through, this one's first, and a path is compared by the
 * file that it leads to. That is slow, and done only after a time-out, once to find a VM's TAPs, and by doctor.
 *
 * What may not be read (another user's process, without privilege) is simply not found.
 */

import { readFile } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { sameFile } from '../host/files.ts'
import { netnsIdOfProcess } from '../host/namespaces.ts'
import {
  descriptorsOf,
  firstHolder,
  listPids,
  type ProcessState,
  processState,
  socketHolders,
  socketInode,
  workingDirectoryOf,
} from '../host/processes.ts'
import { loadBinding } from '../native.ts'
import type { MonitorAddress } from './address.ts'

/** The VM, and the other ends of its monitor's connections, by their inodes. */
interface Ends {
  readonly listener: number
  readonly peers: ReadonlySet<string>
}

/** Through which process's /proc the sockets of a network namespace are seen. */
type View = number | 'self'

/** Who listens there: the VM. */
export async function findListener(address: MonitorAddress): Promise<ProcessState | undefined> {
  const ends = await findEnds(address)
  return ends === undefined ? undefined : processState(ends.listener)
}

/** Who is connected, or waits for it. This process is not told. */
export async function findClients(address: MonitorAddress): Promise<ProcessState[]> {
  const ends = await findEnds(address)
  const pids = new Set([...(await socketHolders(ends?.peers ?? new Set())).values()].flat())
  pids.delete(process.pid)
  const states = await Promise.all([...pids].map(processState))
  return states.filter(state => state !== undefined)
}

async function findEnds(address: MonitorAddress): Promise<Ends | undefined> {
  const seen = new Set<string | undefined>()
  for (const view of ['self' as const, ...(await listPids())]) {
    const namespace = await netnsIdOfProcess(view)
    if (seen.has(namespace)) continue
    seen.add(namespace)
    const ends =
      address.kind === 'unix' ? await unixEnds(view, address.path) : await tcpEnds(view, address.port)
    if (ends !== undefined) return ends
  }
  return undefined
}

/** net/unix: Num RefCount Protocol Flags Type St Inode Path; the flag is __SO_ACCEPTCON (linux/net.h). */
async function unixEnds(view: View, path: string): Promise<Ends | undefined> {
  const named = (await linesOf(`/proc/${view}/net/unix`))
    .map(line => /^\S+ \S+ \S+ (?<flags>\S+) \S+ \S+ +(?<inode>\d+) (?<name>.+)$/.exec(line)?.groups)
    .filter(row => row !== undefined)
  for (const { flags, inode = '', name = '' } of named) {
    if (flags !== '00010000' || basename(name) !== basename(path)) continue
    const listener = await firstHolder(new Set([inode]))
    if (listener === undefined || !(await leadsTo(listener, name, path))) continue
    const held = new Set((await descriptorsOf(listener)).map(socketInode))
    const connected = named.filter(row => row['name'] === name && row['inode'] !== inode)
    const own = new Set(connected.map(row => row['inode'] ?? '').filter(each => held.has(each)))
    return { listener, peers: await peersOf(view, own) }
  }
  return undefined
}

/** Whether a name that a process bound is the socket of that path. */
async function leadsTo(pid: number, name: string, path: string): Promise<boolean> {
  const bound = resolve((await workingDirectoryOf(pid)) ?? '/', name)
  return (await sameFile(`/proc/${pid}/root${bound}`, path)) || sameFile(bound, path)
}

/** net/unix does not tell who is connected with whom; sock_diag(7) does. */
async function peersOf(view: View, inodes: ReadonlySet<string>): Promise<Set<string>> {
  const netns = view === 'self' ? undefined : `/proc/${view}/ns/net`
  const pairs = await loadBinding()
    .inspectUnixPeers(netns)
    .catch(() => [])
  return new Set(pairs.filter(({ inode }) => inodes.has(String(inode))).map(({ peer }) => String(peer)))
}

/** net/tcp, net/tcp6: sl local_address rem_address st ... inode; 0A is TCP_LISTEN (net/tcp_states.h). */
async function tcpEnds(view: View, port: number): Promise<Ends | undefined> {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const [listening, peers] = [new Set<string>(), new Set<string>()]
  for (const file of ['tcp', 'tcp6']) {
    for (const line of await linesOf(`/proc/${view}/net/${file}`)) {
      const [, local = '', remote = '', state = '', , , , , , inode = '0'] = line.trim().split(/\s+/)
      if (local.endsWith(wanted) && state === '0A') listening.add(inode)
      else if (remote.endsWith(wanted)) peers.add(inode)
    }
  }
  const listener = await firstHolder(listening)
  return listener === undefined ? undefined : { listener, peers }
}

async function linesOf(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch(() => '')
  return text.split('\n')
}
