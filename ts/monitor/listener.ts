/**
 * Which process of this host listens at a monitor's address, and whether it is stopped.
 *
 * Read from /proc (proc(5)): the listening socket's inode from net/unix or net/tcp, then the process that has
 * it among its descriptors. That walk over all processes is slow, so it is done only after a time-out.
 * What may not be read (another user's process without privilege, another network namespace, a path that was
 * bound relative to another directory) is simply not found.
 */

import { readdir, readFile, readlink, realpath } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { MonitorAddress } from './address.ts'

export interface ListenerProcess {
  readonly pid: number
  /** The kernel's short name of it (comm), at most 15 bytes. */
  readonly name: string
  /** Stopped by a signal or by a debugger. */
  readonly frozen: boolean
}

export async function findListener(address: MonitorAddress): Promise<ListenerProcess | undefined> {
  const inodes = address.kind === 'unix' ? await unixInodes(address.path) : await tcpInodes(address.port)
  if (inodes.size === 0) return undefined
  for (const pid of await readdir('/proc')) {
    if (/^\d+$/.test(pid) && (await holdsSocket(pid, inodes))) return await describe(pid)
  }
  return undefined
}

/** net/unix: Num RefCount Protocol Flags Type St Inode Path; the flag is __SO_ACCEPTCON (linux/net.h). */
async function unixInodes(path: string): Promise<Set<string>> {
  const absolute = resolve(path)
  const names = new Set([path, absolute, await realpath(absolute).catch(() => absolute)])
  const inodes = new Set<string>()
  for (const line of await linesOf('/proc/net/unix')) {
    const { flags, inode, name } =
      /^\S+ \S+ \S+ (?<flags>\S+) \S+ \S+ +(?<inode>\d+) (?<name>.+)$/.exec(line)?.groups ?? {}
    if (flags === '00010000' && names.has(name ?? '')) inodes.add(inode ?? '')
  }
  return inodes
}

/** net/tcp, net/tcp6: sl local_address rem_address st ... inode; state 0A is TCP_LISTEN (net/tcp_states.h). */
async function tcpInodes(port: number): Promise<Set<string>> {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0')
  const inodes = new Set<string>()
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of await linesOf(file)) {
      const columns = line.trim().split(/\s+/)
      if (columns[1]?.endsWith(`:${wanted}`) && columns[3] === '0A') inodes.add(columns[9] ?? '')
    }
  }
  return inodes
}

async function holdsSocket(pid: string, inodes: ReadonlySet<string>): Promise<boolean> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => [])
  for (const fd of descriptors) {
    const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
    if (inode !== undefined && inodes.has(inode)) return true
  }
  return false
}

/** stat: pid (comm) state ...; comm may hold blanks and parentheses, so the last parenthesis counts. */
async function describe(pid: string): Promise<ListenerProcess | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const open = stat.indexOf('(')
  const close = stat.lastIndexOf(')')
  if (open < 0 || close < open) return undefined
  const state = stat.slice(close + 2, close + 3)
  return { pid: Number(pid), name: stat.slice(open + 1, close), frozen: state === 'T' || state === 't' }
}

async function linesOf(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch(() => '')
  return text.split('\n')
}
