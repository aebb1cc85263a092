/**
 * Whether somebody listens at an address, and the processes at both ends of it, if they are on this host.
 *
 * Read from /proc (proc(5)): the sockets' inodes from net/unix or net/tcp, then the processes that have them among
 * their descriptors. Sockets are listed in the network namespace in which they were made, although the path of a
 * unix socket leads anywhere; and a path is the one it was bound by, in the directory and the file system of its
 * process. So the namespaces of all processes are looked through, this one's first, and a path is compared by the
 * file that it leads to. That is slow, and done only after a time-out, once to find a VM's process, and by doctor.
 *
 * What may not be read (another user's process, without privilege) is simply not found.
 */

import { lookup } from 'node:dns/promises'
import { readFile } from 'node:fs/promises'
import { BlockList, isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { basename, resolve } from 'node:path'
import type { UnixPeer } from '../binding.ts'
import { loadBinding } from '../native.ts'
import { sameFile } from './files.ts'
import { netnsIdOfProcess } from './namespaces.ts'
import {
  descriptorsOf,
  firstHolder,
  listPids,
  type ProcessState,
  processState,
  socketHolders,
  socketInode,
  workingDirectoryOf,
} from './processes.ts'

export type ListenAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }

/** How many processes of a namespace are tried to get there. */
const WAYS_IN = 4

/** TCP_LISTEN (net/tcp_states.h), as net/tcp writes it. */
const LISTENING = '0A'

/** Through which process's /proc the sockets of a network namespace are seen. */
type View = number | 'self'

/** A listening socket. */
interface Listener {
  readonly pid: number
  /** A unix socket's, as it was bound. */
  readonly name?: string
}

/** Who listens there. */
export async function findListener(address: ListenAddress): Promise<ProcessState | undefined> {
  const listener = await locate(address, await networkViews())
  return listener === undefined ? undefined : processState(listener.pid)
}

/** Who listens there, and who is connected to it or waits for that. This process is not told. */
export async function findBothEnds(
  address: ListenAddress,
): Promise<{ server: ProcessState | undefined; clients: ProcessState[] }> {
  const views = await networkViews()
  const listener = await locate(address, views)
  if (listener === undefined) return { server: undefined, clients: [] }
  const ends =
    address.kind === 'unix' ? await unixClients(listener, views) : await tcpClients(listener, address.port)
  const clients = (await socketHolders(ends)).filter(({ pid }) => pid !== process.pid)
  return { server: await processState(listener.pid), clients }
}

/**
 * Whether somebody listens there, in this network namespace and whoever it is; undefined for another host. Nobody is
 * connected to: that would take the place of a client.
 */
export async function isListenedOn(address: ListenAddress): Promise<boolean | undefined> {
  if (address.kind === 'unix') {
    const names = (await linesOf('/proc/self/net/unix')).flatMap(line => listeningName(line)?.name ?? [])
    return isPathAmong(names, address.path)
  }
  const listening = (await rowsOf('tcp')).filter(({ state }) => state === LISTENING)
  return isHeldBy(listening, address)
}

/** Whether one of the names that sockets were bound by is that path. */
export async function isPathAmong(names: readonly string[], path: string): Promise<boolean> {
  const same = names.map(async name => name === path || (await sameFile(name, path)))
  return (await Promise.all(same)).includes(true)
}

/** Whether one of these sockets is in the way of one at that address; undefined for another host. */
export async function isHeldBy(
  rows: readonly { readonly local: string }[],
  { host, port }: { readonly host: string; readonly port: number },
): Promise<boolean | undefined> {
  if (!(await isOfThisHost(host))) return undefined
  const ours = isAnyAddress(host) ? undefined : await addressesOf(host)
  return rows.some(({ local }) => {
    if (!local.endsWith(hex(port))) return false
    const theirs = readAddress(local)
    return (
      ours === undefined || isAnyAddress(theirs) || ours.check(theirs, isIP(theirs) === 6 ? 'ipv6' : 'ipv4')
    )
  })
}

function isAnyAddress(host: string): boolean {
  return ['', '0.0.0.0', '::'].includes(host)
}

async function addressesOf(host: string): Promise<BlockList> {
  const list = new BlockList()
  for (const { address, family } of await lookup(host, { all: true }).catch(() => [])) {
    list.addAddress(address, family === 6 ? 'ipv6' : 'ipv4')
  }
  return list
}

/** `0100007F:0FA0` of net/tcp and its like of net/tcp6: words of 32 bits, in the host's order, which is the little one. */
function readAddress(local: string): string {
  const bytes = Buffer.from(local.slice(0, local.indexOf(':')), 'hex').swap32()
  if (bytes.length === 4) return [...bytes].join('.')
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index).toString(16))
  return groups.every(group => group === '0') ? '::' : groups.join(':')
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

async function locate(address: ListenAddress, views: readonly View[][]): Promise<Listener | undefined> {
  if (address.kind === 'tcp') return tcpListener(address.host, address.port)
  const found = await Promise.all(
    views.map(([view]) => (view === undefined ? [] : unixListeners(view, address.path))),
  )
  const [listener, ...more] = found.flat()
  // An older one, whose path was taken over, looks the same from here.
  return more.some(({ pid }) => pid !== listener?.pid) ? undefined : listener
}

/** A line of net/unix: Num RefCount Protocol Flags Type St Inode Path; the flag is __SO_ACCEPTCON (linux/net.h). */
function listeningName(line: string): { inode: string; name: string } | undefined {
  const row = /^\S+ \S+ \S+ 00010000 \S+ \S+ +(?<inode>\d+) (?<name>.+)$/.exec(line)?.groups
  const { inode = '', name = '' } = row ?? {}
  return row === undefined ? undefined : { inode, name }
}

async function unixListeners(view: View, path: string): Promise<Listener[]> {
  const listeners: Listener[] = []
  for (const line of await linesOf(`/proc/${view}/net/unix`)) {
    const { inode = '', name = '' } = listeningName(line) ?? {}
    if (name === '' || basename(name) !== basename(path)) continue
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
 * The other ends of a server's connections, by their inodes. net/unix does not tell who is connected with whom;
 * sock_diag(7) does, and lists the server's end of a connection in the namespace of its client.
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

/** net/tcp, net/tcp6 and their likes for UDP: sl local_address rem_address st ... inode. */
export async function rowsOf(
  protocol: 'tcp' | 'udp',
): Promise<{ local: string; remote: string; state: string; inode: string }[]> {
  const files = [protocol, `${protocol}6`].map(file => linesOf(`/proc/self/net/${file}`))
  const lines = (await Promise.all(files)).flat()
  return lines.map(line => {
    const [, local = '', remote = '', state = '', , , , , , inode = ''] = line.trim().split(/\s+/)
    return { local, remote, state, inode }
  })
}

/** A port is one of this network namespace, and another host's is none of ours. */
async function tcpListener(host: string, port: number): Promise<Listener | undefined> {
  if (!(await isOfThisHost(host))) return undefined
  const listening = (await rowsOf('tcp')).filter(
    ({ local, state }) => local.endsWith(hex(port)) && state === LISTENING,
  )
  const pid = await firstHolder(new Set(listening.map(({ inode }) => inode)))
  return pid === undefined ? undefined : { pid }
}

/** The other ends of a server's own connections, where they are in this namespace, too. */
async function tcpClients({ pid }: Listener, port: number): Promise<Set<string>> {
  const held = new Set((await descriptorsOf(pid)).map(socketInode))
  const rows = await rowsOf('tcp')
  const served = rows.filter(
    ({ local, state, inode }) => local.endsWith(hex(port)) && state !== LISTENING && held.has(inode),
  )
  const mirrored = rows.filter(row =>
    served.some(({ local, remote }) => row.local === remote && row.remote === local),
  )
  return new Set(mirrored.map(({ inode }) => inode))
}

async function isOfThisHost(host: string): Promise<boolean> {
  if (isAnyAddress(host)) return true
  const addresses = await lookup(host, { all: true }).catch(() => [])
  const own = new Set(
    Object.values(networkInterfaces()).flatMap(list => list?.map(each => each.address) ?? []),
  )
  return addresses.some(({ address }) => address.startsWith('127.') || address === '::1' || own.has(address))
}

function hex(port: number): string {
  return `:${port.toString(16).toUpperCase().padStart(4, '0')}`
}

export async function linesOf(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch(() => '')
  return text.split('\n')
}
