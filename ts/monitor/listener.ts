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

import { lookup } from 'node:dns/promises'
import { readFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { basename, resolve } from 'node:path'
import type { UnixPeer } from '../binding.ts'
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

/** How many processes of a namespace are tried to get there. */
const WAYS_IN = 4

/** Through which process's /proc the sockets of a network namespace are seen. */
type View = number | 'self'

/** The VM's listening socket. */
interface Listener {
  readonly pid: number
  /** A unix socket's, as it was bound. */
  readonly name?: string
}

/** Who listens there: the VM. */
export async function findListener(address: MonitorAddress): Promise<ProcessState | undefined> {
  const listener = await locate(address, await networkViews())
  return listener === undefined ? undefined : processState(listener.pid)
}

/** The VM, and who is connected to it or waits for that. This process is not told. */
export async function findBothEnds(
  address: MonitorAddress,
): Promise<{ vm: ProcessState | undefined; clients: ProcessState[] }> {
  const views = await networkViews()
  const listener = await locate(address, views)
  if (listener === undefined) return { vm: undefined, clients: [] }
  const ends =
    address.kind === 'unix' ? await unixClients(listener, views) : await tcpClients(listener, address.port)
  const clients = (await socketHolders(ends)).filter(({ pid }) => pid !== process.pid)
  return { vm: await processState(listener.pid), clients }
}

/** The processes of each network namespace, those of this one first. */
async function networkViews(): Promise<View[][]> {
  const views = new Map<string, View[]>()
  for (const view of ['self' as const, ...(await listPids())]) {
    const namespace = await netnsIdOfProcess(view)
    if (namespace !== undefined) views.set(namespace, [...(views.get(namespace) ?? []), view])
  }
  return [...views.values()]
}

async function locate(address: MonitorAddress, views: readonly View[][]): Promise<Listener | undefined> {
  if (address.kind === 'tcp') return tcpListener(address.host, address.port)
  const found = await Promise.all(
    views.map(([view]) => (view === undefined ? [] : unixListeners(view, address.path))),
  )
  const [listener, ...more] = found.flat()
  // An older one, whose path was taken over, looks the same from here.
  return more.some(({ pid }) => pid !== listener?.pid) ? undefined : listener
}

/** net/unix: Num RefCount Protocol Flags Type St Inode Path; the flag is __SO_ACCEPTCON (linux/net.h). */
async function unixListeners(view: View, path: string): Promise<Listener[]> {
  const listeners: Listener[] = []
  for (const line of await linesOf(`/proc/${view}/net/unix`)) {
    const row = /^\S+ \S+ \S+ 00010000 \S+ \S+ +(?<inode>\d+) (?<name>.+)$/.exec(line)?.groups
    const { inode = '', name = '' } = row ?? {}
    if (row === undefined || basename(name) !== basename(path)) continue
    const pid = await firstHolder(new Set([inode]))
    if (pid !== undefined && (await leadsTo(pid, name, path))) listeners.push({ pid, name })
  }
  return listeners
}

/** Whether a name that a process bound is the socket of that path. */
async function leadsTo(pid: number, name: string, path: string): Promise<boolean> {
  const bound = resolve((await workingDirectoryOf(pid)) ?? '/', name)
  return (await sameFile(`/proc/${pid}/root${bound}`, path)) || sameFile(bound, path)
}

/**
 * The other ends of the VM's connections, by their inodes. net/unix does not tell who is connected with whom;
 * sock_diag(7) does, and lists the VM's end of a connection in the namespace of its client.
 */
async function unixClients({ pid, name }: Listener, views: readonly View[][]): Promise<Set<string>> {
  const held = new Set((await descriptorsOf(pid)).map(socketInode))
  const ends = new Set<string>()
  for (const { inode, peer, path } of (await Promise.all(views.map(unixPeers))).flat()) {
    if (path === name && held.has(String(inode))) ends.add(String(peer))
  }
  return ends
}

/** Of the namespace that these processes are in; even root may not enter it by every one of them. */
async function unixPeers(views: readonly View[]): Promise<UnixPeer[]> {
  for (const view of views.slice(0, WAYS_IN)) {
    try {
      return await loadBinding().inspectUnixPeers(view === 'self' ? undefined : `/proc/${view}/ns/net`)
    } catch {
      // The next process may lead there.
    }
  }
  return []
}

/** net/tcp, net/tcp6: sl local_address rem_address st ... inode; 0A is TCP_LISTEN (net/tcp_states.h). */
async function tcpRows(): Promise<{ local: string; remote: string; state: string; inode: string }[]> {
  const lines = (await Promise.all(['tcp', 'tcp6'].map(file => linesOf(`/proc/self/net/${file}`)))).flat()
  return lines.map(line => {
    const [, local = '', remote = '', state = '', , , , , , inode = ''] = line.trim().split(/\s+/)
    return { local, remote, state, inode }
  })
}

/** A port is one of this network namespace, and another host's is none of ours. */
async function tcpListener(host: string, port: number): Promise<Listener | undefined> {
  if (!(await isOfThisHost(host))) return undefined
  const listening = (await tcpRows()).filter(
    ({ local, state }) => local.endsWith(hex(port)) && state === '0A',
  )
  const pid = await firstHolder(new Set(listening.map(({ inode }) => inode)))
  return pid === undefined ? undefined : { pid }
}

/** The other ends of the VM's own connections, where they are in this namespace, too. */
async function tcpClients({ pid }: Listener, port: number): Promise<Set<string>> {
  const held = new Set((await descriptorsOf(pid)).map(socketInode))
  const rows = await tcpRows()
  const served = rows.filter(
    ({ local, state, inode }) => local.endsWith(hex(port)) && state !== '0A' && held.has(inode),
  )
  const mirrored = rows.filter(row =>
    served.some(({ local, remote }) => row.local === remote && row.remote === local),
  )
  return new Set(mirrored.map(({ inode }) => inode))
}

async function isOfThisHost(host: string): Promise<boolean> {
  const addresses = await lookup(host, { all: true }).catch(() => [])
  const own = new Set(
    Object.values(networkInterfaces()).flatMap(list => list?.map(each => each.address) ?? []),
  )
  return addresses.some(({ address }) => address.startsWith('127.') || address === '::1' || own.has(address))
}

function hex(port: number): string {
  return `:${port.toString(16).toUpperCase().padStart(4, '0')}`
}

async function linesOf(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch(() => '')
  return text.split('\n')
}
